//! What stands in the argument vectors, and what never does.

use super::*;

#[test]
fn no_shell_reads_what_is_asked_and_an_id_is_an_argument_of_its_own() {
    let home = std::path::Path::new("/home/me; rm -rf /");
    assert_eq!(ours(home)[5], "label=pearlbed.home=/home/me; rm -rf /");
    assert_eq!(stop("abc", 60), ["stop", "--time", "60", "abc"]);
    assert_eq!(logs("abc", true), ["logs", "--follow", "--tail", "0", "abc"]);
    assert_eq!(logs("abc", false), ["logs", "--follow", "abc"]);
    assert_eq!(remove("abc"), ["rm", "--force", "abc"]);
    assert_eq!(image("x:1").last().map(String::as_str), Some("x:1"));
    assert_ne!(version(Kind::Docker), version(Kind::Podman));
    assert_ne!(rootless(Kind::Docker), rootless(Kind::Podman));
}
