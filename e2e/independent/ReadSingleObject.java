import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.message.BinaryMessageDecoder;

/** Reads records in Avro's single-object encoding, as any consumer in Java would: the decoder finds the schema by the
 * fingerprint at the beginning of the record. Argument: the schema file. Each line of standard input contains the record
 * in hexadecimal digits, a tab, and the expected _id. */
public class ReadSingleObject {
    public static void main(String[] arguments) throws Exception {
        Schema schema = new Schema.Parser().parse(new File(arguments[0]));
        BinaryMessageDecoder<GenericRecord> decoder = new BinaryMessageDecoder<>(new GenericData(), schema);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        int count = 0;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split("\t", 2);
            GenericRecord record = decoder.decode(HexFormat.of().parseHex(parts[0]));
            if (!record.get("_id").toString().equals(parts[1])) {
                throw new IllegalStateException("read _id " + record.get("_id") + ", expected " + parts[1]);
            }
            count++;
        }
        if (count == 0) {
            throw new IllegalStateException("no records came");
        }
        byte[] fingerprint = SchemaNormalization.parsingFingerprint("CRC-64-AVRO", schema);
        String version = Schema.class.getPackage().getImplementationVersion();
        System.out.println("Java's Avro " + version + ": " + count + " records found by fingerprint "
            + HexFormat.of().formatHex(fingerprint) + " and read");
    }
}
