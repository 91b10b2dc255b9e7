//! Pins the layout of everything that crosses the boundary: a published table never changes.
//!
//! Measured on 64-bit targets; a change here is a change of the contract and needs a new version beside the old one.
#![cfg(target_pointer_width = "64")]

use std::mem::{align_of, offset_of, size_of};

use abi_stable::StableAbi;
use abi_stable::type_layout::TypeLayout;
use pearlbed_plugin_api::abi::{
    DOOR_MAGIC, DOOR_SYMBOL, Door, ENTRY_SYMBOL, Entry, EntryRef, TableAnswer, v1,
};

macro_rules! pin {
    ($type:ident, size $size:literal, align $align:literal, { $($field:ident: $offset:literal),* $(,)? }) => {
        assert_eq!(size_of::<$type>(), $size, "size of {}", stringify!($type));
        assert_eq!(align_of::<$type>(), $align, "alignment of {}", stringify!($type));
        $(assert_eq!(offset_of!($type, $field), $offset, "offset of {}.{}", stringify!($type), stringify!($field));)*
        // Names every field, so that one more or one less does not compile.
        let _ = |value: $type| {
            let $type { $($field: _),* } = value;
        };
    };
}

#[test]
fn every_boundary_type_of_version_1_keeps_its_layout() {
    use v1::{Bytes, Capabilities, Config, HostTable, Job, ProviderTable, Sink, Stats};
    pin!(Bytes, size 16, align 8, { data: 0, len: 8 });
    pin!(Sink, size 16, align 8, { context: 0, write: 8 });
    pin!(Capabilities, size 16, align 8, { supported: 0, has_estimated_hashrate: 4, estimated_hashrate: 8 });
    pin!(Config, size 104, align 8, {
        provider: 0,
        wallet_address: 16,
        submit_kind: 32,
        fee_bps: 36,
        submit_url: 40,
        worker_id: 56,
        fee_payout_address: 72,
        extra: 88,
    });
    pin!(Job, size 128, align 8, {
        id: 0,
        header: 8,
        certificate_version: 84,
        target: 88,
        flags: 120,
        reserved: 124,
    });
    pin!(Stats, size 40, align 8, { hashes: 0, proofs_found: 8, jobs_taken: 16, hashrate: 24, uptime_seconds: 32 });
    pin!(HostTable, size 72, align 8, {
        context: 0,
        retain: 8,
        release: 16,
        next_job: 24,
        is_stale: 32,
        submit: 40,
        progress: 48,
        log: 56,
        job_details: 64,
    });
    pin!(ProviderTable, size 64, align 8, {
        manifest: 0,
        create: 8,
        destroy: 16,
        detect: 24,
        start: 32,
        stop: 40,
        is_running: 48,
        stats: 56,
    });
    pin!(TableAnswer, size 16, align 8, { table: 0, layout: 8 });
    pin!(Entry, size 8, align 8, { table: 0 });
    pin!(Door, size 32, align 8, { magic: 0, size: 8, version: 12, table_size: 16, table: 24 });
    assert_eq!(size_of::<EntryRef>(), 8);
    assert_eq!(size_of::<Option<&TypeLayout>>(), 8, "null is no layout");
}

#[test]
fn the_names_that_the_layout_check_compares_are_kept() {
    for (layout, name) in [
        (<v1::ProviderTable as StableAbi>::LAYOUT, "ProviderTable"),
        (<v1::HostTable as StableAbi>::LAYOUT, "HostTable"),
        (<TableAnswer as StableAbi>::LAYOUT, "TableAnswer"),
    ] {
        let (package, version) = layout.package_and_version();
        assert_eq!((layout.name(), package.as_str()), (name, "pearlbed-plugin-api"));
        let major = version.parsed().unwrap().major;
        assert_eq!(major, 1, "another major version refuses every plugin that was ever built");
    }
}

#[test]
fn every_number_of_version_1_keeps_its_meaning() {
    assert_eq!(v1::VERSION, 1);
    assert_eq!([v1::OK, v1::FAILED, v1::PANICKED], [0, 1, 2]);
    assert_eq!([v1::NEXT_JOB, v1::NEXT_TIMED_OUT, v1::NEXT_STOPPED], [0, 1, 2]);
    assert_eq!(
        [
            v1::SUBMIT_TAKEN,
            v1::SUBMIT_STALE,
            v1::SUBMIT_UNKNOWN_JOB,
            v1::SUBMIT_TOO_LARGE,
            v1::SUBMIT_STOPPED
        ],
        [0, 1, 2, 3, 4]
    );
    assert_eq!([v1::SUBMIT_SOLO, v1::SUBMIT_POOL], [0, 1]);
    assert_eq!(v1::JOB_RANK_PENALTY, 1);
}

#[test]
fn the_entry_symbol_is_the_one_that_abi_stable_looks_for() {
    // The macro has to write it out as a literal.
    assert_eq!(ENTRY_SYMBOL, "_1as_0lib_1header_0root_bmodule_bloader");
    assert_eq!((DOOR_SYMBOL, DOOR_MAGIC), ("pearlbed_door_open", 0x5052_494c_4442_4544));
}
