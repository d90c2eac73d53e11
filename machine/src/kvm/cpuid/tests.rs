//! Tests of the templates.

use super::*;

/// What was released, by name and digest. A line is added, never changed.
const RELEASED: [(&str, u64); 3] = [
    ("base-1", 0x2bdb_5cf9_4bac_7aeb),
    ("merom-1", 0x3780_7362_cf58_0fbd),
    ("nehalem-1", 0x7f28_cb5f_21e0_f94d),
];

fn leaf(table: &CpuId, function: u32) -> kvm_cpuid_entry2 {
    *table.as_slice().iter().find(|entry| entry.function == function).expect("the table has the leaf")
}

#[test]
fn a_template_never_changes() {
    let ours: Vec<_> = TEMPLATES.iter().map(|template| (template.name, template.digest())).collect();
    assert_eq!(ours, RELEASED, "give what differs a name of its own");
}

#[test]
fn nothing_that_reads_the_hosts_clock_or_randomness_is_promised() {
    for template in &TEMPLATES {
        let (basic, extended) = (leaf(&template.table(), 0x1), leaf(&template.table(), 0x8000_0001));
        assert_eq!(basic.edx & 1 << 4, 0, "TSC");
        let (monitor, tsc_deadline, xsave, rdrand) = (1 << 3, 1 << 24, 1 << 26, 1 << 30);
        assert_eq!(basic.ecx & (monitor | tsc_deadline | xsave | rdrand), 0, "{}", template.name);
        assert_eq!(extended.edx & 1 << 27, 0, "RDTSCP");
        assert_eq!(leaf(&template.table(), 0x7).ebx, 0, "RDSEED and all else of leaf 7");
    }
}

#[test]
fn what_an_emulator_lacks_is_not_promised() {
    for template in &TEMPLATES {
        assert_eq!(leaf(&template.table(), 0x1).ecx & 1 << 13, 0, "CMPXCHG16B");
    }
}

#[test]
fn each_template_promises_what_its_name_says() {
    let (sse3, ssse3, sse4_1, sse4_2, popcnt) = (1 << 0, 1 << 9, 1 << 19, 1 << 20, 1 << 23);
    let promised = |name| {
        let table = Template::named(name).unwrap().table();
        (leaf(&table, 0x1).eax, leaf(&table, 0x1).ecx & !(1 << 31))
    };
    assert_eq!(promised("base-1"), (0xf20, 0));
    assert_eq!(promised("merom-1"), (0x6f0, sse3 | ssse3));
    assert_eq!(promised("nehalem-1"), (0x1_06a0, sse3 | ssse3 | sse4_1 | sse4_2 | popcnt));
}

/// A host like `template`, without one of its features.
fn host_without(template: &Template, ecx: u32) -> CpuId {
    let mut supported = template.table();
    supported
        .as_mut_slice()
        .iter_mut()
        .filter(|entry| entry.function == 0x1)
        .for_each(|entry| entry.ecx &= !ecx);
    supported
}

#[test]
fn a_host_is_told_what_it_lacks_and_shows_the_richest_that_it_can() {
    let [base, merom, nehalem] = &TEMPLATES;
    assert_eq!(richest(&nehalem.table()).unwrap().name, "nehalem-1");
    let without_popcnt = host_without(nehalem, 1 << 23);
    assert_eq!(richest(&without_popcnt).unwrap().name, "merom-1");
    assert!(merom.check(&without_popcnt).is_ok());
    let refused = nehalem.check(&host_without(nehalem, 1 << 23 | 1 << 0)).unwrap_err().to_string();
    assert!(refused.contains("nehalem-1") && refused.contains("SSE3, POPCNT"), "{refused}");
    assert_eq!(richest(&base.table()).unwrap().name, "base-1");
    assert!(richest(&CpuId::from_entries(&[]).unwrap()).is_err());
}

#[test]
fn a_name_that_nobody_gave_is_refused_with_those_that_there_are() {
    let refused = Template::named("pentium").unwrap_err().to_string();
    assert!(refused.contains("pentium") && refused.contains("base-1, merom-1, nehalem-1"), "{refused}");
    assert_eq!(digest("pentium"), 0);
    assert_eq!(digest("merom-1"), Template::named("merom-1").unwrap().digest());
}
