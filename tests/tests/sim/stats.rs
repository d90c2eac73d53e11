//! How much happened.

use std::fmt;

macro_rules! stats {
    ($($field:ident),*) => {
        /// How much happened.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct Stats {
            $(pub $field: u64,)*
        }

        impl Stats {
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }

        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{}={} ", stringify!($field), self.$field)?;)*
                Ok(())
            }
        }
    };
}

stats!(
    seeds,
    outputs,
    seeds_held,
    takeovers,
    detaches,
    halts,
    handovers,
    writes,
    lost_claims,
    divergences,
    deltas,
    installed,
    distrusts,
    stops,
    crashes,
    ends,
    lies,
    vms_lost,
    events
);
