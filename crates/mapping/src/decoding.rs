//! Decompresses bodies. The gateway stores bodies as it received them, so they are decompressed before the mapping.

use std::io::Read;

use customerio::webhook::Webhook;
use flate2::read::MultiGzDecoder;

use crate::rejection::{Rejection, RejectionCode};

/// First bytes of every gzip stream (RFC 1952). No JSON text begins with them.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Returns the body without its `Content-Encoding` (RFC 9110): unchanged, or decompressed into `buffer` for gzip. At
/// most `limit` bytes are decompressed.
///
/// The bytes have priority over the header: gzip is recognised by its first bytes, and a body that is a JSON object is
/// not decompressed. A proxy may have decompressed the body without removing the header, or removed the header without
/// decompressing the body.
///
/// # Errors
/// Returns a [`Rejection`] with `unsupported_encoding` for any other encoding and for an incomplete gzip stream, and
/// with `too_large` if the decompressed body is larger than `limit`.
pub fn decoded<'a>(
    encoding: Option<&[u8]>,
    body: &'a [u8],
    limit: usize,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Rejection> {
    let encoding = encoding.map(<[u8]>::trim_ascii).filter(|encoding| !encoding.is_empty());
    let is = |name: &str| encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(name.as_bytes()));
    let is_plain = encoding.is_none() || is("identity");
    let unpacked = if body.starts_with(GZIP_MAGIC) {
        unpack(body, limit, buffer)?;
        Some(buffer.as_slice())
    } else {
        None
    };
    match unpacked {
        Some(unpacked) if is_plain || is("gzip") || is("x-gzip") || Webhook::parse(unpacked).is_ok() => Ok(unpacked),
        None if is_plain || Webhook::parse(body).is_ok() => Ok(body),
        _ if is("gzip") || is("x-gzip") => Err(Rejection::new(
            RejectionCode::UnsupportedEncoding,
            "the content-encoding says gzip, but the body is neither gzip nor a JSON object",
        )),
        _ => Err(Rejection::new(
            RejectionCode::UnsupportedEncoding,
            "the request had a content-encoding other than gzip, and its body is not a JSON object; it is kept as it was received",
        )),
    }
}

fn unpack(body: &[u8], limit: usize, buffer: &mut Vec<u8>) -> Result<(), Rejection> {
    buffer.clear();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body).take(most).read_to_end(buffer).map_err(|_| {
        Rejection::new(
            RejectionCode::UnsupportedEncoding,
            "the body starts like gzip, but is not a complete gzip stream",
        )
    })?;
    if buffer.len() > limit {
        return Err(Rejection::new(
            RejectionCode::TooLarge,
            format!("the body unpacks to more than {limit} bytes (GATEWAY_MAX_BODY)"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn code(encoding: &str, body: &[u8], limit: usize) -> Option<RejectionCode> {
        decoded(Some(encoding.as_bytes()), body, limit, &mut Vec::new()).err().map(|rejection| rejection.code)
    }

    #[test]
    fn a_gzip_body_is_decompressed_and_a_plain_body_is_unchanged() {
        let body = b"{\"event_id\":\"1\"}";
        let mut buffer = b"left over".to_vec();
        for encoding in [None, Some("identity"), Some(" "), Some("Identity")] {
            assert_eq!(decoded(encoding.map(str::as_bytes), body, 100, &mut buffer).unwrap(), body);
        }
        for encoding in ["gzip", "GZIP", "x-gzip", " gzip "] {
            assert_eq!(decoded(Some(encoding.as_bytes()), &gzip(body), 100, &mut buffer).unwrap(), body);
        }
        let members = [gzip(b"{\"event_id\""), gzip(b":\"1\"}")].concat();
        assert_eq!(decoded(Some(b"gzip"), &members, 100, &mut buffer).unwrap(), body);
    }

    #[test]
    fn a_json_body_is_read_despite_a_wrong_content_encoding() {
        let body = b" {\"event_id\":\"1\"}";
        let packed = gzip(body);
        let mut buffer = Vec::new();
        for encoding in ["gzip", "x-gzip", "br", "deflate", "zstd", "gzip, gzip", "utf-8", "none"] {
            for bytes in [&body[..], &packed] {
                assert_eq!(decoded(Some(encoding.as_bytes()), bytes, 100, &mut buffer).unwrap(), body, "{encoding}");
            }
        }
        for encoding in [None, Some("identity"), Some("")] {
            let encoding = encoding.map(str::as_bytes);
            assert_eq!(decoded(encoding, &packed, 100, &mut buffer).unwrap(), body, "the header was removed");
        }
        let twice = gzip(&packed);
        assert_eq!(
            code("gzip, gzip", &twice, 100),
            Some(RejectionCode::UnsupportedEncoding),
            "decompressed only once, the body is not JSON"
        );
    }

    #[test]
    fn undecodable_bodies_and_decompression_bombs_are_rejected() {
        let unsupported = Some(RejectionCode::UnsupportedEncoding);
        for encoding in ["br", "deflate", "gzip, gzip", "zstd"] {
            assert_eq!(code(encoding, b"x", 100), unsupported, "{encoding}");
        }
        let whole = gzip(b"{}");
        for broken in [b"[]".as_slice(), b"{", b"", b"\x78\x9c deflate", &whole[..whole.len() - 3]] {
            assert_eq!(code("gzip", broken, 100), unsupported);
        }
        assert_eq!(
            decoded(None, &whole[..whole.len() - 3], 100, &mut Vec::new()).unwrap_err().code,
            RejectionCode::UnsupportedEncoding
        );
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 60_000);
        let mut buffer = Vec::new();
        let rejection = decoded(Some(b"gzip"), &bomb, 10_000, &mut buffer).unwrap_err();
        assert_eq!(rejection.code, RejectionCode::TooLarge);
        assert!(buffer.capacity() < 100_000, "{}", buffer.capacity());
        let exact = gzip(&[b' '; 1000]);
        assert_eq!(code("gzip", &exact, 1000), None);
        assert_eq!(code("gzip", &exact, 999), Some(RejectionCode::TooLarge));
    }
}
