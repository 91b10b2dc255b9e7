//! Which image a miner's container was made of last: a name is a promise of nobody's, and one that leads elsewhere is told.

use std::path::{Path, PathBuf};

fn file(home: &Path, miner: &str) -> PathBuf {
    home.join("runtime/container").join(format!("{miner}.image"))
}

/// The digest that the image called `name` had when the container of `miner` was made last, if it was made of that.
pub fn last_image(home: &Path, miner: &str, name: &str) -> Option<String> {
    let text = String::from_utf8(crate::owned::read_at_most(&file(home, miner), 4096).ok()?).ok()?;
    let (last, digest) = text.trim_end().split_once(' ')?;
    (last == name).then(|| digest.to_owned())
}

/// It is made of the image called `name` with this digest. Where that cannot be kept, a later move is not told.
pub fn remember(home: &Path, miner: &str, name: &str, digest: &str) {
    if last_image(home, miner, name).as_deref() != Some(digest) {
        let _ = crate::owned::replace(&file(home, miner), format!("{name} {digest}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_again_by_its_name_and_another_name_is_another() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        std::fs::create_dir_all(home.join("runtime/container")).unwrap();
        assert_eq!(last_image(home, "m", "x:1"), None);
        remember(home, "m", "x:1", "sha256:0");
        assert_eq!(last_image(home, "m", "x:1").as_deref(), Some("sha256:0"));
        assert_eq!((last_image(home, "m", "x:2"), last_image(home, "n", "x:1")), (None, None));
        remember(home, "m", "x:1", "sha256:1");
        assert_eq!(last_image(home, "m", "x:1").as_deref(), Some("sha256:1"));
    }
}
