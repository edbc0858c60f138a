//! The certificate and key with which the gateway serves TLS, if no proxy in front of the gateway does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use settings::{Problems, read_bytes};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};

use settings::watched::{Loaded, Origin};

/// Paths of two PEM files: the certificate with its intermediates, and its private key.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The server configuration for TLS handshakes.
#[derive(Debug)]
pub(crate) struct Tls(pub(crate) Arc<ServerConfig>);

impl Origin for TlsFiles {
    type Value = Tls;

    const WHAT: &'static str = "certificate and key";
    const LABEL: &'static str = "tls";

    fn load(&self) -> Result<Loaded<Tls>, Problems> {
        let mut problems = Problems::default();
        let chain = problems.check(certificates(&self.certificate));
        let key = problems.check(private_key(&self.key));
        let (Some(chain), Some(key)) = (chain, key) else { return Err(problems) };
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        match config {
            Ok(mut config) => {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Ok(Loaded { value: Tls(Arc::new(config)), files: vec![self.certificate.clone(), self.key.clone()] })
            }
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(format!(
                "GATEWAY_TLS_KEY: {} is not the key of the first certificate in {} (GATEWAY_TLS_CERT); the server's own certificate comes first",
                self.key.display(),
                self.certificate.display()
            )
            .into()),
            Err(error) => Err(format!(
                "GATEWAY_TLS_CERT and GATEWAY_TLS_KEY: {} and {} cannot be used: {error}",
                self.certificate.display(),
                self.key.display()
            )
            .into()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_bytes(path).map_err(|error| format!("GATEWAY_TLS_CERT: {error}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let problem = match chain {
        Ok(chain) if !chain.is_empty() => return Ok(chain),
        Ok(_) => "it contains no certificate; PEM with BEGIN CERTIFICATE is expected",
        Err(_) => NOT_PEM,
    };
    Err(format!("GATEWAY_TLS_CERT: {}: {problem}", path.display()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_bytes(path).map_err(|error| format!("GATEWAY_TLS_KEY: {error}"))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound => {
                "it contains no private key; PEM with BEGIN PRIVATE KEY, without a passphrase, is expected"
            }
            _ => NOT_PEM,
        };
        format!("GATEWAY_TLS_KEY: {}: {problem}", path.display())
    })
}

/// Replaces the parser's message, which would show content of the file.
const NOT_PEM: &str = "it is not well-formed PEM";

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn certificate_and_key_files_that_cannot_be_used_are_reported_with_the_reason() {
        let folder = std::env::temp_dir().join(format!("gateway-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = write("cert.pem", &cert.pem());
        let key = write("key.pem", &signing_key.serialize_pem());
        let other = write("other.pem", &other.signing_key.serialize_pem());
        let empty = write("empty.pem", "");
        let torn = write("torn.pem", "-----BEGIN CERTIFICATE-----\ntopsecret\n");
        let load = |certificate: &PathBuf, key: &PathBuf| {
            TlsFiles { certificate: certificate.clone(), key: key.clone() }
                .load()
                .map(|loaded| loaded.files)
                .map_err(|problems| problems.to_string())
        };
        assert_eq!(load(&certificate, &key), Ok(vec![certificate.clone(), key.clone()]));
        let marked = [("marked.pem", cert.pem()), ("marked.key", signing_key.serialize_pem())];
        let [chain, private] = marked.map(|(name, pem)| write(name, &format!("\u{feff}{pem}")));
        assert_eq!(load(&chain, &private), Ok(vec![chain.clone(), private.clone()]));
        assert!(load(&certificate, &other).unwrap_err().contains("is not the key of the first certificate"));
        let both = load(&folder.join("nowhere"), &empty).unwrap_err();
        assert!(both.contains("GATEWAY_TLS_CERT") && both.contains("check the path"), "{both}");
        assert!(both.contains("GATEWAY_TLS_KEY") && both.contains("no private key"), "{both}");
        assert!(load(&empty, &key).unwrap_err().contains("no certificate"));
        assert!(load(&key, &key).unwrap_err().contains("no certificate"));
        let torn = load(&torn, &key).unwrap_err();
        assert!(torn.contains("torn.pem") && !torn.contains("topsecret"), "{torn}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
