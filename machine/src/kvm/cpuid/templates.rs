//! The templates. One that was released never changes: logs name it, and a pair may be of two builds of one version. A
//! better one gets a new number.

use super::template::{
    Feature,
    Register::{Ecx1, Edx1, ExtendedEcx, ExtendedEdx},
    Template,
};

/// From the poorest to the richest.
pub static TEMPLATES: [Template; 3] = [
    // The last model before SSE3, so that nobody who goes by model numbers takes it for more.
    Template {
        name: "base-1",
        about: "x86-64 with SSE2 and no more",
        signature: signature(15, 2),
        caches: false,
        levels: &[&BASELINE],
    },
    Template {
        name: "merom-1",
        about: "SSE3 and SSSE3 as well, like the first Core 2",
        signature: signature(6, 15),
        caches: true,
        levels: &[&BASELINE, &SSSE3],
    },
    Template {
        name: "nehalem-1",
        about: "SSE4.1, SSE4.2 and POPCNT as well, like the first Core i7: x86-64-v2 without CMPXCHG16B",
        signature: signature(6, 26),
        caches: true,
        levels: &[&BASELINE, &SSSE3, &SSE4],
    },
];

/// The least that a 64-bit program counts on. Without machine checks: nobody could repeat one.
const BASELINE: [Feature; 20] = [
    ("FPU", Edx1, 0),
    ("DE", Edx1, 2),
    ("PSE", Edx1, 3),
    ("MSR", Edx1, 5),
    ("PAE", Edx1, 6),
    ("CMPXCHG8B", Edx1, 8),
    ("SYSENTER", Edx1, 11),
    ("PGE", Edx1, 13),
    ("CMOV", Edx1, 15),
    ("PAT", Edx1, 16),
    ("PSE-36", Edx1, 17),
    ("CLFLUSH", Edx1, 19),
    ("MMX", Edx1, 23),
    ("FXSAVE", Edx1, 24),
    ("SSE", Edx1, 25),
    ("SSE2", Edx1, 26),
    ("LAHF", ExtendedEcx, 0),
    ("SYSCALL", ExtendedEdx, 11),
    ("NX", ExtendedEdx, 20),
    ("64-bit mode", ExtendedEdx, 29),
];
const SSSE3: [Feature; 2] = [("SSE3", Ecx1, 0), ("SSSE3", Ecx1, 9)];
const SSE4: [Feature; 3] = [("SSE4.1", Ecx1, 19), ("SSE4.2", Ecx1, 20), ("POPCNT", Ecx1, 23)];

/// CPUID.1:EAX of a family below 16 and a model below 256, stepping 0 (SDM volume 2, CPUID).
const fn signature(family: u32, model: u32) -> u32 {
    (model >> 4) << 16 | family << 8 | (model & 0xf) << 4
}
