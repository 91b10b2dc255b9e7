//! What a data file may say, and each mistake in one by name.

use super::*;

const GOOD: &str = r#"
schema = 1
id = "some-engine"
version = "1.0.0"
certificate_versions = [3]
settings = [{ key = "port", kind = "integer:1..65535", default = "8000" }, { key = "length", kind = "integer" }]
image = { name = "some_image:1" }
serving = { port = "port", health = "/health" }
[run]
arguments = [["{model}"], ["--length", "{length}"]]
cache = "/cache"
environment = { CACHE = "/cache" }
"#;

fn parse(text: &str) -> Result<DataFile, DataError> {
    DataFile::parse("some-engine.container.toml", text.as_bytes())
}

#[test]
fn a_good_one_is_read_and_asks_for_nothing_that_only_a_library_could() {
    let file = parse(GOOD).unwrap();
    assert_eq!((&*file.manifest.id, &*file.image.name), ("some-engine", "some_image:1"));
    assert!(file.manifest.plugin_api.is_empty() && file.manifest.permissions.is_empty());
    assert_eq!(file.manifest.settings.len(), 2);
}

#[test]
fn each_mistake_is_named() {
    for (from, to, said) in [
        ("schema = 1", "schema = 2", "it is of schema 2"),
        ("schema = 1", "schema = 1\nprivileged = true", "line 3: unknown field `privileged`"),
        ("cache = \"/cache\"", "mounts = [\"/\"]", "unknown field `mounts`"),
        ("[run]", "[run", "line 9"),
        ("id = \"some-engine\"", "id = \"other\"", "its name must be `other.container.toml`"),
        ("id = \"some-engine\"", "id = \"Some\"", "what it says of itself is wrong"),
        ("[3]", "[]", "`certificate_versions` is empty"),
        ("some_image:1", "--privileged", "`image.name` is no name of an image"),
        ("some_image:1", "a b", "`image.name` is no name of an image"),
        ("\"/health\"", "\"health\"", "`serving.health` must be a path"),
        ("port = \"port\"", "port = \"other\"", "`other` is none of its `settings`"),
        ("{length}", "{lenght}", "`{lenght}` stands for nothing"),
        ("cache = \"/cache\"", "cache = \"/run/pearlbed/x\"", "is no place for a mount"),
        ("cache = \"/cache\"", "cache = \"/a,readonly=false\"", "is no place for a mount"),
        ("cache = \"/cache\"", "cache = \"/\"", "is no place for a mount"),
        ("CACHE =", "\"A-B\" =", "`A-B` is no name of a variable"),
        ("/cache\" }", "{wallet}\" }", "`{wallet}` stands for nothing"),
        ("/cache\" }", "/cache\" }\n[gateway]\nentrypoint = []", "`gateway.entrypoint` is empty"),
        (
            "/cache\" }",
            "/cache\" }\n[gateway]\nentrypoint = [\"{model}\"]",
            "stands for nothing in `[gateway]`",
        ),
        ("[[\"{model}\"],", "[[],", "holds an empty group"),
        // What would carry the user's own out of his machine.
        (
            "[run]",
            "[run]\npassed = [\"AWS_SECRET_ACCESS_KEY\"]",
            "`AWS_SECRET_ACCESS_KEY`, which may be a secret",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let err = parse(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(err.contains(said), "{to}: {err}");
    }
    for (setting, own) in [
        (r#"'"~/.ssh"'"#, r#"model_folder = { setting = "mine", target = "/m" }"#),
        (r#"'"GITHUB_TOKEN"'"#, r#"token = { setting = "mine", variable = "T" }"#),
    ] {
        let with = |default: &str| {
            let mine = format!(", {{ key = \"mine\", kind = \"text\"{default} }}]\nimage");
            parse(&GOOD.replace("]\nimage", &mine).replace("[run]", &format!("[run]\n{own}")))
        };
        let err = with(&format!(", default = {setting}")).unwrap_err().to_string();
        assert_eq!(err, "`mine` names a folder or a secret of the user's, and has a default");
        assert!(with("").is_ok());
    }
    let err = DataFile::parse("some-engine.container.toml", b"\xff").unwrap_err();
    assert!(matches!(err, DataError::NotText(0)));
}
