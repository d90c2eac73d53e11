//! What a template is made of.

/// A feature: its name, and the register and bit that announce it.
pub type Feature = (&'static str, Register, u32);

/// A register of a leaf that has feature bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// CPUID.1:ECX.
    Ecx1,
    /// CPUID.1:EDX.
    Edx1,
    /// CPUID.8000_0001:ECX.
    ExtendedEcx,
    /// CPUID.8000_0001:EDX.
    ExtendedEdx,
}

/// A guest's CPU.
#[derive(Debug)]
pub struct Template {
    /// What `--cpu-baseline`, logs and peers call it.
    pub name: &'static str,
    /// What it has, for people.
    pub about: &'static str,
    /// CPUID.1:EAX: family and model.
    pub(super) signature: u32,
    /// It describes its caches.
    pub(super) caches: bool,
    /// What it promises, each level on top of those before.
    pub(super) levels: &'static [&'static [Feature]],
}

impl Template {
    pub(super) fn features(&self) -> impl Iterator<Item = &Feature> {
        self.levels.iter().flat_map(|level| level.iter())
    }

    /// Its feature bits in `register`.
    pub(super) fn bits(&self, register: Register) -> u32 {
        self.features().filter(|feature| feature.1 == register).fold(0, |bits, feature| bits | 1 << feature.2)
    }
}
