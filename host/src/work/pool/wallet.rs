//! Who is paid: the texts that pools take for a wallet (pool protocol section 3.7).
//!
//! What the user gave goes out as it is. Here it is only looked at, so that a slip does not pay a stranger.

use pearl_pow::address::{Address, AddressNetwork};

/// Checks what a pool is to be told as wallet. `unchecked` takes forms that hold no address.
///
/// # Errors
///
/// What is wrong with it, as the rest of a sentence, and what to do.
pub fn check(wallet: &str, unchecked: bool) -> Result<(), (String, String)> {
    let rest = wallet.strip_prefix("solo:").unwrap_or(wallet);
    let address = rest.split(['.', '/', '+']).next().unwrap_or_default();
    let lower = address.to_ascii_lowercase();
    let ours = |network: AddressNetwork| lower.starts_with(&format!("{}1", network.prefix()));
    if ours(AddressNetwork::Mainnet) {
        return match Address::parse_for(address, AddressNetwork::Mainnet) {
            Ok(_) => Ok(()),
            Err(err) => {
                let hint = err.hint().unwrap_or_else(|| "copy the address from your wallet".to_owned());
                Err((format!("holds no Pearl address: {err}"), hint))
            }
        };
    }
    if lower.starts_with("tprl1") || lower.starts_with("rprl1") {
        return Err((
            "is an address of a test network, and pools pay on the main one".to_owned(),
            "take an address that begins `prl1p`".to_owned(),
        ));
    }
    if unchecked {
        return Ok(());
    }
    Err((
        "is no form that can be checked".to_owned(),
        "if the pool takes it, set `wallet_unchecked = true` under [mining.pool]".to_owned(),
    ))
}

/// Checks the name of a machine: an address there is a slip of the paste.
///
/// # Errors
///
/// As [`check`].
pub fn check_worker(worker: &str) -> Result<(), (String, String)> {
    if worker.parse::<Address>().is_ok() {
        return Err((
            "is an address".to_owned(),
            "`worker` is the name of this machine; the address belongs into `wallet_address`".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

    #[test]
    fn every_form_that_pools_know_is_taken_and_its_checksum_holds() {
        for form in ["{}", "solo:{}", "{}.rig1", "{}/rig1", "{}+500000", "solo:{}.rig"] {
            let good = form.replace("{}", GOOD);
            assert_eq!(check(&good, false), Ok(()), "{good}");
            let wrong = form.replace("{}", &GOOD.replace("729k", "729j"));
            assert!(check(&wrong, true).is_err(), "a slip is a slip: {wrong}");
        }
        for other in ["krxABCDEF", "krxABCDEF.rig1", "", "bc1qxyz"] {
            assert!(check(other, false).unwrap_err().1.contains("wallet_unchecked"), "{other}");
            assert_eq!(check(other, true), Ok(()));
        }
        assert!(check("tprl1pqqq", true).unwrap_err().0.contains("test network"));
        assert!(check_worker(GOOD).is_err());
        assert_eq!(check_worker("rig1"), Ok(()));
    }
}
