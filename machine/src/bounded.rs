//! Files that a user names and that are read whole.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

/// All of the file at `path`, which may be a pipe.
///
/// # Errors
/// It cannot be read, it has more than `most` bytes, or it is something that has no end, such as a device.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let kind = file.metadata()?;
    let refused = |reason: String| Err(io::Error::new(ErrorKind::InvalidData, reason));
    if kind.is_dir() {
        return refused("it is a directory".to_owned());
    }
    if !kind.is_file() && !kind.file_type().is_fifo() {
        return refused("it is neither a file nor a pipe".to_owned());
    }
    let mut bytes = Vec::new();
    if kind.len() <= most {
        // One byte more than is allowed shows that there is more.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    if kind.len() > most || bytes.len() as u64 > most {
        return refused(format!("it has more than {most} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, thread};

    use super::*;

    #[test]
    fn what_is_longer_than_it_may_be_or_has_no_end_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert!(read(&file, 4).unwrap_err().to_string().contains("more than 4 bytes"));
        assert!(read(Path::new("/dev/zero"), 4).unwrap_err().to_string().contains("neither"));
        assert!(read(directory.path(), 4).unwrap_err().to_string().contains("directory"));
    }

    #[test]
    fn a_pipe_is_read_up_to_the_bound() {
        let (mut writer, reader) = io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        writer.write_all(b"12345").unwrap();
        let read_it = thread::spawn(move || read(Path::new(&path), 4));
        drop(writer);
        assert!(read_it.join().unwrap().unwrap_err().to_string().contains("more than 4 bytes"));
    }
}
