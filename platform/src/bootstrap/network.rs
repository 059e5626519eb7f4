//! The machine's own addresses and name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that others can reach this machine by, loopback last. Link-local IPv6 is left out,
/// because it means nothing without a zone.
pub fn local_addresses() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses.push(Ipv4Addr::LOCALHOST.into());
    addresses
}

/// Names and addresses for a certificate: what people may type to reach this machine.
pub(super) fn own_names(public_host: Option<&str>) -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let mut names: Vec<String> = public_host.map(str::to_owned).into_iter().collect();
    names.push("localhost".to_owned());
    // Some systems have host names that no certificate may hold.
    if !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)) {
        names.push(host.to_owned());
    }
    names.extend(local_addresses().iter().map(IpAddr::to_string));
    names.push(Ipv6Addr::LOCALHOST.to_string());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_last() {
        assert_eq!(local_addresses().last(), Some(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn the_public_host_comes_first_and_nothing_comes_twice() {
        let names = own_names(Some("127.0.0.1"));
        assert_eq!(names.first().map(String::as_str), Some("127.0.0.1"));
        assert_eq!(names.iter().filter(|name| *name == "127.0.0.1").count(), 1);
    }
}
