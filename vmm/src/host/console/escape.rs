//! The way out of a raw terminal, in which every key is the guest's.

/// Ctrl-], as in telnet. What follows it says what is wanted.
const KEY: u8 = 0x1d;
/// Leaves.
const LEAVE: u8 = b'.';

/// What was typed, with the escapes taken out.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    /// For the guest.
    pub bytes: Vec<u8>,
    /// The user wants to leave; what was typed after that is nobody's.
    pub leave: bool,
}

/// Finds `Ctrl-] .` (leave) and `Ctrl-] Ctrl-]` (one for the guest). Ctrl-] before any other key is an ordinary key.
#[derive(Debug, Default)]
pub struct Escape {
    begun: bool,
}

impl Escape {
    /// What the user is told.
    pub const HELP: &str = "Ctrl-] . leaves; Ctrl-] Ctrl-] is a Ctrl-] for the guest";

    /// Takes in what was typed next.
    pub fn filter(&mut self, typed: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(typed.len());
        for &byte in typed {
            let begun = std::mem::take(&mut self.begun);
            match byte {
                LEAVE if begun => return Typed { bytes, leave: true },
                KEY if !begun => self.begun = true,
                KEY => bytes.push(KEY),
                _ if begun => bytes.extend([KEY, byte]),
                _ => bytes.push(byte),
            }
        }
        Typed { bytes, leave: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_leave_and_everything_else_is_the_guests() {
        let typed = |pieces: &[&[u8]]| {
            let mut escape = Escape::default();
            let mut all = Typed { bytes: Vec::new(), leave: false };
            for piece in pieces {
                let typed = escape.filter(piece);
                all.bytes.extend(typed.bytes);
                all.leave |= typed.leave;
            }
            all
        };
        let stays = |bytes: &[u8]| Typed { bytes: bytes.to_vec(), leave: false };
        assert_eq!(typed(&[b"a.b\x03\x1b[A"]), stays(b"a.b\x03\x1b[A"));
        assert_eq!(typed(&[b"a\x1d.b"]), Typed { bytes: b"a".to_vec(), leave: true });
        assert_eq!(typed(&[b"a\x1d", b"."]), Typed { bytes: b"a".to_vec(), leave: true });
        assert_eq!(typed(&[b"\x1d\x1d."]), stays(b"\x1d."));
        assert_eq!(typed(&[b"\x1dx."]), stays(b"\x1dx."));
    }
}
