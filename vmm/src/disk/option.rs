//! The value of `--disk`.

use std::{path::PathBuf, str::FromStr};

use ftlog::DiskMode;

/// A disk as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOption {
    /// The file or block device.
    pub path: PathBuf,
    /// Where its data are, in a protected pair.
    pub mode: DiskMode,
    /// The guest cannot write it.
    pub readonly: bool,
}

impl FromStr for DiskOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut disk = Self { path: PathBuf::new(), mode: DiskMode::Replicated, readonly: false };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("path", path)) => disk.path = path.into(),
                Some(("mode", "replicated")) => disk.mode = DiskMode::Replicated,
                Some(("mode", "shared")) => disk.mode = DiskMode::Shared,
                Some(("mode", mode)) => return Err(format!("'{mode}' is neither replicated nor shared")),
                None if part == "readonly" => disk.readonly = true,
                _ => return Err(format!("'{part}' is none of path=FILE, mode=MODE, readonly")),
            }
        }
        if disk.path.as_os_str().is_empty() { Err("path=FILE is missing".to_owned()) } else { Ok(disk) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_option_names_a_file_and_how_it_is_kept() {
        let disk = |text: &str| text.parse::<DiskOption>();
        let plain = DiskOption { path: "/a".into(), mode: DiskMode::Replicated, readonly: false };
        assert_eq!(disk("path=/a"), Ok(plain.clone()));
        assert_eq!(disk("path=/a,mode=replicated"), Ok(plain.clone()));
        assert_eq!(
            disk("readonly,mode=shared,path=/a"),
            Ok(DiskOption { mode: DiskMode::Shared, readonly: true, ..plain })
        );
        for wrong in ["", "/a", "path=", "mode=shared", "path=/a,mode=both", "path=/a,readonly=1", "path=/a,"]
        {
            assert!(disk(wrong).is_err(), "{wrong}");
        }
    }
}
