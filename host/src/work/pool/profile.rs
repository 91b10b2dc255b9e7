//! What is known of single pools, as data (pool protocol sections 4 and 12, with the dates of the evidence there).
//!
//! Nothing mines anywhere because of this table: it knows how a pool that the user named likes to be spoken to, and
//! serves hints. The variations of a dialect are members here and never branches in the code.

use crate::work::stratum::Encoding;
use crate::work::stratum::to_pool::{Dialect, Signature};

/// How a pool likes to be spoken to, and what its operators say of its ports.
#[derive(Debug, PartialEq)]
pub struct Profile {
    /// The pool's name.
    pub name: &'static str,
    /// Ends of its host names.
    pub hosts: &'static [&'static str],
    /// How to authorize first; the other way is tried where this one is refused.
    pub dialect: Dialect,
    /// How shares say who found them.
    pub signature: Signature,
    /// The encoding to ask for where the user asks for none.
    pub wants: Encoding,
    /// Whether a share names its encoding where the job lists it.
    pub names_encoding: bool,
    /// Whether the connection must be kept alive by pings.
    pub pings: bool,
    /// Ports that speak plain TCP.
    pub plain: &'static [u16],
    /// Ports that speak TLS.
    pub tls: &'static [u16],
    /// Ports of another family or dialect, with what to do instead.
    pub other: &'static [(u16, &'static str)],
    /// How to get an easier target here.
    pub easier: Option<&'static str>,
}

/// A pool that the table does not know.
pub const UNKNOWN: Profile = Profile {
    name: "unknown",
    hosts: &[],
    dialect: Dialect::Object,
    signature: Signature::Both,
    wants: Encoding::Plain,
    names_encoding: false,
    pings: false,
    plain: &[],
    tls: &[],
    other: &[],
    easier: None,
};

const PASSWORD: &str =
    "set the pool's password to `d=N` with a smaller N (`password_env` names the variable)";

/// Every pool that is known.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "Kryptex",
        hosts: &["kryptex.network"],
        signature: Signature::Joined,
        plain: &[7048],
        tls: &[8048],
        easier: Some(
            "this pool's smallest difficulty is 2097152: use a pool with an easier port, or more machines",
        ),
        ..UNKNOWN
    },
    Profile {
        name: "HeroMiners",
        hosts: &["herominers.com"],
        plain: &[1200],
        tls: &[1200],
        easier: Some("this pool's difficulty is fixed: use a pool with an easier port, or more machines"),
        ..UNKNOWN
    },
    Profile {
        name: "LuckyPool",
        hosts: &["luckypool.io", "lproute.com"],
        plain: &[3360, 3361, 3362, 3365],
        easier: Some("this pool adjusts its difficulty by itself: wait some shares"),
        ..UNKNOWN
    },
    Profile { name: "K1Pool", hosts: &["k1pool.com"], plain: &[3360, 3362], ..UNKNOWN },
    Profile {
        name: "Suprnova",
        hosts: &["suprnova.cc"],
        plain: &[3370, 3371, 3372, 3373],
        tls: &[3374],
        easier: Some("ports 3370 and 3373 of this pool are the easy ones"),
        ..UNKNOWN
    },
    Profile {
        name: "AlphaPool",
        hosts: &["alphapool.tech"],
        plain: &[5571],
        other: &[
            (5566, "5571 speaks the object dialect"),
            (5567, "5571 speaks the object dialect"),
            (5573, "5571 speaks the object dialect"),
        ],
        easier: Some(PASSWORD),
        ..UNKNOWN
    },
    Profile {
        name: "2Miners",
        hosts: &["2miners.com"],
        plain: &[1818, 1919],
        tls: &[11818, 11919],
        ..UNKNOWN
    },
    Profile { name: "BaikalMine", hosts: &["baikalmine.com"], plain: &[2010], ..UNKNOWN },
    Profile {
        name: "RabbitMiner",
        hosts: &["rabbitminer.cc"],
        plain: &[1902],
        easier: Some(PASSWORD),
        ..UNKNOWN
    },
    Profile { name: "JetSkiPool", hosts: &["jetskipool.ai"], plain: &[6970], ..UNKNOWN },
    Profile { name: "mkpool", hosts: &["mkpool.com"], plain: &[3411], ..UNKNOWN },
    Profile { name: "f2pool", hosts: &["f2pool.com"], plain: &[5500], pings: true, ..UNKNOWN },
    Profile {
        name: "grandpool",
        hosts: &["grandpool.org", "grandpool.io"],
        plain: &[8070],
        tls: &[8071],
        ..UNKNOWN
    },
    Profile { name: "MoneroOcean", hosts: &["moneroocean.stream"], names_encoding: true, ..UNKNOWN },
    Profile {
        name: "Hashmonkeys",
        hosts: &["hashmonkeys.cloud"],
        other: &[(12437, "this pool speaks another family of protocols, which pearlbed does not")],
        ..UNKNOWN
    },
    Profile {
        name: "pearlhash.xyz",
        hosts: &["pearlhash.xyz"],
        other: &[(9000, "this pool's protocol is closed: only its own program can mine there")],
        ..UNKNOWN
    },
];

/// The row for a host name, or [`UNKNOWN`].
pub fn find(host: &str) -> &'static Profile {
    let host = host.to_ascii_lowercase();
    let fits = |end: &str| host == end || host.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    PROFILES.iter().find(|profile| profile.hosts.iter().any(|end| fits(end))).unwrap_or(&UNKNOWN)
}

impl Profile {
    /// What is known to be wrong with a port, and what to do instead.
    pub fn warning(&self, port: u16) -> Option<&'static str> {
        self.other.iter().find(|(other, _)| *other == port).map(|(_, advice)| *advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_their_end_and_only_at_a_point() {
        for (host, name) in [
            ("prl-eu.kryptex.network", "Kryptex"),
            ("DE.Pearl.HeroMiners.com", "HeroMiners"),
            ("solo-prl.2miners.com", "2Miners"),
            ("evilkryptex.network", "unknown"),
            ("kryptex.network.example", "unknown"),
            ("127.0.0.1", "unknown"),
        ] {
            assert_eq!(find(host).name, name, "{host}");
        }
        assert!(find("eu1.alphapool.tech").warning(5566).unwrap().contains("5571"));
        assert_eq!(find("eu1.alphapool.tech").warning(5571), None);
    }
}
