//! The MAC address of a VM's network card.

use xxhash_rust::xxh3::xxh3_64;

/// The address of the VM that is called `name`, on whichever host: a single station's, locally administered.
///
/// The second digit is 2, which says that nobody else gives such addresses out but the network's administrator (IEEE
/// 802c, section 8.4.4). The other 44 bits come from the name: among 1,000 VMs, two share an address with a chance of
/// about 1 in 35 million.
#[must_use]
pub fn mac_of(name: &str) -> [u8; 6] {
    let digest = xxh3_64(format!("mac\0{name}").as_bytes()).to_le_bytes();
    let mut mac = [0; 6];
    mac.copy_from_slice(&digest[..6]);
    mac[0] = mac[0] & 0xf0 | 0x02;
    mac
}

/// Reads an address as in `52:46:54:56:4d:01`.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bad = || format!("'{text}' is no MAC address of a single station, such as 52:46:54:56:4d:01");
    let byte = |part: &str| match part.len() {
        1 | 2 if part.bytes().all(|digit| digit.is_ascii_hexdigit()) => u8::from_str_radix(part, 16).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
    let mac: [u8; 6] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(bad)?;
    // The lowest bit of the first byte marks a group address (IEEE 802, section 8.2). All zeroes stand for none.
    if mac[0] & 1 != 0 || mac == [0; 6] { Err(bad()) } else { Ok(mac) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change here would give running guests other addresses at their next start.
    #[test]
    fn an_address_is_for_ever() {
        assert_eq!(mac_of("ledger"), [0x92, 0x77, 0xf3, 0x88, 0xc0, 0x85]);
    }

    #[test]
    fn addresses_are_single_stations_locally_administered_and_tell_vms_apart() {
        let mut seen = std::collections::HashSet::new();
        for number in 0..10_000 {
            let mac = mac_of(&format!("vm-{number}"));
            assert_eq!(mac[0] & 0x0f, 0x02);
            assert!(seen.insert(mac), "vm-{number}");
        }
    }

    #[test]
    fn an_address_is_six_bytes_of_one_station() {
        assert_eq!(parse_mac("2:0:00:00:00:a7"), Ok([2, 0, 0, 0, 0, 0xa7]));
        for bad in
            ["", "02:00", "01:00:00:00:00:07", "02:00:00:00:00:007", "02:00:00:00:00:+7", "0:0:0:0:0:0"]
        {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
