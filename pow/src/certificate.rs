//! Certificate versions and the seed rule each implies (sections 3 and 12).

/// A certificate version whose proofs this crate can make and check (section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateVersion {
    /// Dense, legacy seeds.
    V1,
    /// Dense or mixture of experts, legacy seeds.
    V2,
    /// As V2 with salted seeds.
    V3,
}

/// How the noise seeds are derived from the two roots (section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeedRule {
    /// The roots enter the seeds as they are: certificate versions 1 and 2.
    Legacy,
    /// Each root is first bound to its matrix's number of rows: certificate version 3.
    Salted,
}

/// A certificate version that this build cannot mine or verify (section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("certificate version {0} is not supported by this build, which knows 1, 2 and 3")]
pub struct UnsupportedCertificate(
    /// The version that was asked for.
    pub u32,
);

impl UnsupportedCertificate {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        if self.0 == 0 {
            "read the version from the job (`cert_version`); 0 does not exist"
        } else {
            "the network has moved to another proof of work: look for a newer release"
        }
    }
}

impl CertificateVersion {
    /// Every supported version, oldest first (section 12).
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3];

    /// The version as jobs carry it (section 12).
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// The seed rule that the version implies (section 3).
    pub const fn seed_rule(self) -> SeedRule {
        match self {
            Self::V1 | Self::V2 => SeedRule::Legacy,
            Self::V3 => SeedRule::Salted,
        }
    }
}

impl TryFrom<u32> for CertificateVersion {
    type Error = UnsupportedCertificate;

    fn try_from(number: u32) -> Result<Self, UnsupportedCertificate> {
        Self::ALL.into_iter().find(|version| version.number() == number).ok_or(UnsupportedCertificate(number))
    }
}

impl std::fmt::Display for CertificateVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}

impl std::fmt::Display for SeedRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Salted => "salted",
        })
    }
}
