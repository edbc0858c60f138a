//! Recognises hosts that mean the local machine.

use std::net::IpAddr;

/// Returns true if `host`, the host part of an address, means the local machine: a loopback address, `localhost` or a
/// name that ends with `.localhost`.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback_host;

    #[test]
    fn only_loopback_addresses_and_localhost_names_mean_the_local_machine() {
        for host in ["127.0.0.1", "127.8.9.1", "localhost", "sim.localhost", "[::1]", "::1", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["x", "10.0.0.1", "0.0.0.0", "localhost.example.com", "[2001:db8::1]", "notlocalhost"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
