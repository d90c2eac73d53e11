//! How a disk does, for whoever judges that.

/// Of one disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vitals {
    /// Requests on their way to it or in it.
    pub pending: usize,
    /// Requests that were answered so far.
    pub answered: u64,
    /// Requests that failed so far.
    pub errors: u64,
}
