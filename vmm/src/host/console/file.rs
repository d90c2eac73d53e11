//! A console that is appended to a file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::process::geteuid;

/// Opens `path` to append to it. A new file is its owner's alone to read, since guests print passwords; one that is there
/// keeps its mode and all that is in it. It must be a file of ours, so that nobody has what the guest says go to theirs,
/// or a pipe, or a character device such as a terminal.
///
/// # Errors
/// It is something else, or cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Open for reading too, a pipe waits for no reader and does not fail without one.
    options.read(true).append(true).create(true).mode(0o600);
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    let refused = |reason: String| Err(io::Error::other(reason));
    match () {
        () if kind.is_char_device() || kind.is_fifo() => Ok(file),
        () if !kind.is_file() => refused("it is neither a file, nor a pipe, nor a terminal".to_owned()),
        () if metadata.uid() != geteuid().as_raw() => {
            refused(format!("it is a file of another user (uid {})", metadata.uid()))
        }
        () => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        os::unix::fs::{PermissionsExt, chown},
    };

    use super::*;

    #[test]
    fn a_file_is_appended_to_and_a_new_one_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        open(&path).unwrap().write_all(b"one").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        open(&path).unwrap().write_all(b", two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one, two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640, "who set it meant it");
    }

    #[test]
    fn what_is_not_ours_or_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
        open(Path::new("/dev/null")).unwrap();
        if !geteuid().is_root() {
            println!("skipped: only root can give a file away");
            return;
        }
        let path = directory.path().join("theirs");
        fs::write(&path, b"theirs").unwrap();
        chown(&path, Some(65534), None).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("another user"));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
}
