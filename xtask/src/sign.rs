//! Signs the plugins of an installation, as `minisign` would.

use std::path::Path;

use anyhow::{Context as _, Result};
use minisign::{PublicKey, SecretKeyBox};

use crate::sh;

/// Signs every plugin in the installation `dist` with the secret key in the file `key`. Returns the public key.
pub fn plugins(dist: &Path, key: &Path) -> Result<String> {
    let text = std::fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?;
    let secret = SecretKeyBox::from_string(&text)
        .and_then(SecretKeyBox::into_unencrypted_secret_key)
        .with_context(|| format!("{} is no minisign secret key without a password", key.display()))?;
    let public = PublicKey::from_secret_key(&secret)?;
    let folder = dist.join("lib/pearlbed/plugins");
    for entry in std::fs::read_dir(&folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(std::env::consts::DLL_SUFFIX) {
            continue;
        }
        let file = std::fs::File::open(entry.path())?;
        let comment = format!("file:{name}\tpearlbed {}", env!("CARGO_PKG_VERSION"));
        let signature = minisign::sign(Some(&public), &secret, file, Some(&comment), Some("signature of a pearlbed plugin"))?;
        sh::write(&folder.join(format!("{name}.minisig")), signature.into_string())?;
    }
    Ok(public.to_base64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_signed_by_the_key_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("pearlbed-sign-{}", std::process::id()));
        let plugins = folder.join("lib/pearlbed/plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        let library = plugins.join(format!("libx{}", std::env::consts::DLL_SUFFIX));
        std::fs::write(&library, "a library").unwrap();
        std::fs::write(plugins.join("README"), "no library").unwrap();
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let key = folder.join("key");
        std::fs::write(&key, pair.sk.to_box(None).unwrap().into_string()).unwrap();
        let public = super::plugins(&folder, &key).unwrap();
        assert_eq!(public, pair.pk.to_base64());
        let text = std::fs::read_to_string(format!("{}.minisig", library.display())).unwrap();
        let signature = minisign::SignatureBox::from_string(&text).unwrap();
        minisign::verify(&pair.pk, &signature, std::io::Cursor::new("a library"), true, false, false).unwrap();
        assert!(!plugins.join("README.minisig").exists());
        std::fs::write(&key, "no key").unwrap();
        assert!(super::plugins(&folder, &key).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
