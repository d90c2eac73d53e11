//! The CPU that a guest sees: one of a few named templates, each the same on every host.
//!
//! `KVM_GET_SUPPORTED_CPUID` is not repeatable (it returns the APIC id of whichever CPU ran the ioctl), so nothing is
//! copied from it; it only tells whether this host can keep a template's promises. No template has anything that reads
//! the host's clock or randomness (TSC, RDTSCP, RDRAND, RDSEED, MONITOR, kvmclock), nor XSAVE, whose state components
//! vary from host to host, and with it AVX.

mod rows;
mod template;
mod templates;

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};
use xxhash_rust::xxh3::xxh3_64;

use super::error::KvmError;
pub use template::Template;
use template::{Feature, Register};
pub use templates::TEMPLATES;

impl Template {
    /// The template of that name.
    ///
    /// # Errors
    /// [`KvmError::NoSuchCpu`], when there is none.
    pub fn named(name: &str) -> Result<&'static Self, KvmError> {
        let found = TEMPLATES.iter().find(|template| template.name == name);
        found.ok_or_else(|| KvmError::NoSuchCpu { name: name.to_owned() })
    }

    /// The table as KVM takes it.
    pub fn table(&self) -> CpuId {
        let entries: Vec<_> = rows::of(self)
            .into_iter()
            .map(|rows::Row { leaf, subleaf, registers: [eax, ebx, ecx, edx] }| kvm_cpuid_entry2 {
                function: leaf,
                index: subleaf.unwrap_or(0),
                flags: subleaf.map_or(0, |_| KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
                eax,
                ebx,
                ecx,
                edx,
                ..Default::default()
            })
            .collect();
        CpuId::from_entries(&entries).expect("a short table fits")
    }

    /// A digest of the table. What two programs call by one name must be the same.
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        for rows::Row { leaf, subleaf, registers } in rows::of(self) {
            let words = [leaf, subleaf.unwrap_or(0)].into_iter().chain(registers);
            bytes.extend(words.flat_map(u32::to_le_bytes));
        }
        xxh3_64(&bytes)
    }

    /// Checks that a host that supports `supported` offers every feature that the template promises.
    ///
    /// # Errors
    /// [`KvmError::Cpu`], with the features that are missing.
    pub fn check(&self, supported: &CpuId) -> Result<(), KvmError> {
        let lacks = |(_, register, bit): &Feature| offered(supported, *register) & 1 << bit == 0;
        let missing: Vec<_> =
            self.features().filter(|feature| lacks(feature)).map(|feature| feature.0).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(KvmError::Cpu { template: self.name, missing: missing.join(", ") })
    }
}

/// The richest template that a host that supports `supported` can keep.
///
/// # Errors
/// [`KvmError::Cpu`], with what the poorest lacks.
pub fn richest(supported: &CpuId) -> Result<&'static Template, KvmError> {
    let kept = TEMPLATES.iter().rev().find(|template| template.check(supported).is_ok());
    kept.map_or_else(|| TEMPLATES[0].check(supported).map(|()| &TEMPLATES[0]), Ok)
}

/// The digest of the template called `name`; 0, which is none's, where there is no such template.
pub fn digest(name: &str) -> u64 {
    Template::named(name).map_or(0, Template::digest)
}

fn offered(supported: &CpuId, register: Register) -> u32 {
    let leaf = match register {
        Register::Ecx1 | Register::Edx1 => 0x1,
        Register::ExtendedEcx | Register::ExtendedEdx => 0x8000_0001,
    };
    let entry = supported.as_slice().iter().find(|entry| entry.function == leaf);
    entry.map_or(0, |entry| match register {
        Register::Ecx1 | Register::ExtendedEcx => entry.ecx,
        Register::Edx1 | Register::ExtendedEdx => entry.edx,
    })
}

#[cfg(test)]
mod tests;
