//! What an engine complains of, told from its words and its status: a sentence, a remedy, and whether to try again.

use crate::text::foreign;

use super::command::Kind;

/// What went wrong with a container or its engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its stable code, such as `no-engine`. They are listed in `docs/containers.md`.
    pub code: &'static str,
    /// What is wrong: a phrase without a full stop.
    pub what: String,
    /// What to do about it.
    pub fix: String,
    /// Whether it may pass by itself, so that trying again makes sense.
    pub passes: bool,
}

/// What was being done when an engine complained.
#[derive(Debug, Clone, Copy)]
pub struct Doing<'a> {
    /// Which engine.
    pub kind: Kind,
    /// The image.
    pub image: &'a str,
    /// How the image is got, in words.
    pub how: &'a str,
    /// The container's name.
    pub name: &'a str,
    /// The port on this machine.
    pub port: u16,
}

impl Trouble {
    /// A trouble that trying again does not help.
    pub fn lasting(code: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, what: what.into(), fix: fix.into(), passes: false }
    }

    /// One that may pass.
    pub fn passing(code: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { passes: true, ..Self::lasting(code, what, fix) }
    }

    /// There is no engine on this machine.
    pub fn no_engine() -> Self {
        Self::lasting(
            "no-engine",
            "there is no container engine: neither `podman` nor `docker` is on the path",
            "install one; on Debian and Ubuntu: apt-get install podman, or docker.io",
        )
    }

    /// The engine cannot hand over NVIDIA's cards.
    pub fn no_cards(kind: Kind) -> Self {
        match kind {
            Kind::Docker => Self::lasting(
                "no-gpu-runtime",
                "Docker cannot hand over NVIDIA cards: NVIDIA's container toolkit is not set up",
                "install nvidia-container-toolkit, then `sudo nvidia-ctk runtime configure --runtime=docker` and `sudo \
                 systemctl restart docker`",
            ),
            Kind::Podman => Self::lasting(
                "no-cdi",
                "Podman knows no NVIDIA cards: there is no CDI file for them",
                "install nvidia-container-toolkit, then `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`",
            ),
        }
    }

    /// The image is not here, and is not fetched because its name names no registry.
    pub fn no_image(doing: &Doing<'_>) -> Self {
        let how = if doing.how.is_empty() { String::new() } else { format!("{}; or ", doing.how) };
        Self::lasting(
            "no-image",
            format!(
                "the image {} is not on this machine, and its name names no registry to fetch it from",
                doing.image
            ),
            format!(
                "{how}set `docker_image_tag` in [mining.extra] to one that you have or that a registry has"
            ),
        )
    }
}

/// What `said`, an engine's standard error, means.
pub fn of_engine(said: &str, doing: &Doing<'_>) -> Trouble {
    let lower = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let program = doing.kind.program();
    let image = doing.image;
    if has(&["permission denied while trying to connect", "dial unix", "got permission denied"])
        && has(&["permission denied"])
    {
        return Trouble::lasting(
            "engine-denied",
            "you may not speak with Docker's daemon",
            "use rootless Podman; or join its group (`sudo usermod -aG docker $USER`, and log in anew), which is as good \
             as root",
        );
    }
    let nobody_there = has(&["dial unix"]) && has(&["connection refused", "no such file or directory"]);
    if has(&["cannot connect to the docker daemon", "is the docker daemon running"]) || nobody_there {
        return Trouble::passing(
            "engine-down",
            "Docker's daemon does not answer",
            "start it: `sudo systemctl start docker`",
        );
    }
    if has(&["could not select device driver", "unknown runtime specified nvidia", "nvidia-container-cli"]) {
        return Trouble::no_cards(Kind::Docker);
    }
    if has(&["unresolvable cdi devices", "cdi device injection failed"]) {
        return Trouble::no_cards(Kind::Podman);
    }
    if has(&["is already in use by", "name is already in use", "already in use. you have to remove"])
        && has(&["name"])
    {
        return Trouble::lasting(
            "name-taken",
            format!("another program's container is called {}", doing.name),
            format!(
                "see whose it is with `{program} inspect {0}`; `{program} rm {0}` removes one that is not needed",
                doing.name
            ),
        );
    }
    if has(&["port is already allocated", "address already in use", "bind: address"]) {
        return Trouble::passing(
            "port-taken",
            format!("the port {} of this machine is taken", doing.port),
            format!(
                "`ss -ltnp 'sport = :{}'` shows by whom; or choose another port in [mining.extra]",
                doing.port
            ),
        );
    }
    if has(&["bind source path does not exist", "no such file or directory"])
        && has(&["mount", "bind source", "statfs"])
    {
        return Trouble::lasting(
            "mount-missing",
            format!("something that is to be mounted is not there: {}", first_line(said)),
            "check the folder of the model (`local_model_path`)",
        );
    }
    if has(&["no space left on device", "disk quota exceeded"]) {
        return Trouble::passing(
            "disk-full",
            "the disk is full",
            format!(
                "free space where the models are cached (<home>/cache) and where the engine keeps images (`{program} info`)"
            ),
        );
    }
    if has(&[
        "manifest unknown",
        "not found: manifest",
        "repository does not exist",
        "no such image",
        "image not known",
    ]) {
        let how =
            if doing.how.is_empty() { "check its name and tag".to_owned() } else { doing.how.to_owned() };
        return Trouble::lasting("image-unknown", format!("no registry has the image {image}"), how);
    }
    if has(&["denied", "unauthorized", "authentication required"]) {
        return Trouble::lasting(
            "image-denied",
            format!("the registry does not give out the image {image}: {}", first_line(said)),
            format!("`{program} login` with an account that may have it; or {}", doing.how),
        );
    }
    if has(&[
        "no such host",
        "i/o timeout",
        "network is unreachable",
        "tls handshake",
        "temporary failure in name",
        "connection refused",
        "dial tcp",
    ]) {
        return Trouble::passing(
            "registry-unreachable",
            format!("the image {image} could not be fetched: {}", first_line(said)),
            "check the network; or fetch the image by hand",
        );
    }
    if has(&[
        "executable file not found",
        "exec format error",
        "unable to start container process: exec",
        "a command that was not found",
    ]) {
        return Trouble::lasting(
            "wrong-image",
            format!(
                "the image {image} does not hold the program that is to be started, or one for another processor"
            ),
            "check `docker_image_tag`: the data file is made for another image",
        );
    }
    Trouble::passing(
        "engine-failed",
        format!("{program} failed: {}", first_line(said)),
        format!("`{program} info` shows whether it works"),
    )
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// Its exit status.
    pub code: i64,
    /// The system ended it for want of memory.
    pub out_of_memory: bool,
    /// What its engine says.
    pub error: String,
    /// The last lines that it printed.
    pub last: Vec<String>,
}

/// Why a container ended by itself, as far as its status and its last lines tell. They inform: nothing but words follows
/// from what it printed.
pub fn of_ending(ending: &Ending) -> Trouble {
    let printed = ending.last.join("\n").to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| printed.contains(word));
    let how = match (ending.code, ending.out_of_memory) {
        (_, true) => "it was ended for want of memory".to_owned(),
        (137, _) => "it was killed (status 137)".to_owned(),
        (code, _) => format!("it ended with status {code}"),
    };
    if ending.out_of_memory {
        return Trouble::passing(
            "out-of-memory",
            how,
            "give the machine more memory, or serve a smaller model",
        );
    }
    if has(&["cuda out of memory", "outofmemoryerror", "no available memory for the cache blocks"]) {
        return Trouble::passing(
            "out-of-gpu-memory",
            format!("{how}: the card's memory does not suffice"),
            "lower `max_model_len`, raise `gpu_memory_utilization`, use more cards, or serve a smaller model",
        );
    }
    if has(&[
        "gatedrepo",
        "401 client error",
        "403 client error",
        "access to model",
        "is not a valid model identifier",
    ]) {
        return Trouble::passing(
            "model-denied",
            format!("{how}: the model is not given out without a token"),
            "accept its licence, and set `hf_token_env` to the name of a variable that holds your token",
        );
    }
    if has(&["requires compute capability", "no kernel image is available"]) {
        return Trouble::passing(
            "wrong-card",
            format!("{how}: the card is not one that its kernels are made for"),
            "`pearlbed doctor` says which cards it mines on",
        );
    }
    if has(&["no space left on device"]) {
        return Trouble::passing(
            "disk-full",
            format!("{how}: the disk is full"),
            "free space where models are cached, <home>/cache",
        );
    }
    if has(&["pearlgw.sock", "gateway.sock"]) && has(&["permission denied"]) {
        return Trouble::passing(
            "socket-denied",
            format!("{how}: it may not open the miner port's socket"),
            "report this: it runs as the user whose the socket is",
        );
    }
    let last = ending.last.iter().rev().find(|line| !line.trim().is_empty());
    let last = last.map(|line| format!("; it said last: {}", foreign(line))).unwrap_or_default();
    let error =
        if ending.error.is_empty() { String::new() } else { format!(" ({})", foreign(&ending.error)) };
    Trouble::passing(
        "exited",
        format!("{how}{error}{last}"),
        "`pearlbed logs --provider` shows what it printed",
    )
}

fn first_line(said: &str) -> String {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    foreign(line.strip_prefix("Error response from daemon:").unwrap_or(line).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOING: Doing<'static> =
        Doing { kind: Kind::Docker, image: "some:1", how: "build it", name: "my-container", port: 8000 };

    #[test]
    fn each_complaint_of_an_engine_has_its_sentence_and_its_remedy() {
        for (said, code) in [
            (
                "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
                "engine-down",
            ),
            (
                "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
                "engine-denied",
            ),
            (
                "Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]]",
                "no-gpu-runtime",
            ),
            ("Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=0", "no-cdi"),
            (
                "Error response from daemon: Conflict. The container name \"/my-container\" is already in use by container \"1\".",
                "name-taken",
            ),
            (
                "Error: creating container storage: the container name \"my-container\" is already in use by 1. You have to \
                 remove that container to be able to reuse that name",
                "name-taken",
            ),
            (
                "Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1:8000 \
                 failed: port is already allocated",
                "port-taken",
            ),
            (
                "Error response from daemon: invalid mount config for type \"bind\": bind source path does not exist: /no",
                "mount-missing",
            ),
            ("Error: statfs /no: no such file or directory", "mount-missing"),
            ("write /x: no space left on device", "disk-full"),
            ("Error response from daemon: manifest unknown", "image-unknown"),
            (
                "Error response from daemon: pull access denied for x, repository does not exist",
                "image-unknown",
            ),
            ("Error response from daemon: Head \"https://r/v2\": denied", "image-denied"),
            ("dial tcp: lookup r on 127.0.0.1:53: no such host", "registry-unreachable"),
            (
                "Error response from daemon: Get \"http://localhost:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                "registry-unreachable",
            ),
            ("error during connect: dial unix /x/docker.sock: connect: connection refused", "engine-down"),
            (
                "error during connect: dial unix /x/docker.sock: connect: no such file or directory",
                "engine-down",
            ),
            ("exec: \"/bin/vllm\": stat /bin/vllm: executable file not found in $PATH", "wrong-image"),
            (
                "Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to \
                 start container process: exec: \"/no\": stat /no: no such file or directory: unknown",
                "wrong-image",
            ),
            ("something new", "engine-failed"),
            ("", "engine-failed"),
        ] {
            let trouble = of_engine(said, &DOING);
            assert_eq!(trouble.code, code, "{said}: {trouble:?}");
            assert!(!trouble.what.is_empty() && !trouble.fix.is_empty() && !trouble.what.ends_with('.'));
        }
        assert!(of_engine("port is already allocated", &DOING).what.contains("8000"));
        assert!(
            of_engine("Conflict. The container name \"/x\" is already in use by container", &DOING)
                .fix
                .contains("docker rm my-container")
        );
        assert!(Trouble::no_image(&DOING).fix.starts_with("build it; or set `docker_image_tag`"));
    }

    #[test]
    fn an_ending_is_explained_by_what_was_printed_last() {
        let ended = |code: i64, last: &str| {
            of_ending(&Ending { code, last: last.lines().map(str::to_owned).collect(), ..Ending::default() })
        };
        assert_eq!(ended(1, "torch.OutOfMemoryError: CUDA out of memory.").code, "out-of-gpu-memory");
        assert_eq!(ended(1, "huggingface_hub.errors.GatedRepoError: 401 Client Error.").code, "model-denied");
        assert_eq!(ended(1, "PearlKernel requires compute capability 9.0").code, "wrong-card");
        assert_eq!(ended(1, "OSError: [Errno 28] No space left on device").code, "disk-full");
        let socket = "PermissionError: [Errno 13] Permission denied: '/tmp/pearlgw.sock'";
        assert_eq!(ended(1, socket).code, "socket-denied");
        let exited = ended(3, "first\nbye\u{1b}[2J\n");
        assert_eq!((exited.code, exited.passes), ("exited", true));
        assert_eq!(exited.what, "it ended with status 3; it said last: bye\\u{1b}[2J");
        let starved = of_ending(&Ending { code: 137, out_of_memory: true, ..Ending::default() });
        assert_eq!(starved.code, "out-of-memory");
        assert!(of_ending(&Ending { code: 137, ..Ending::default() }).what.contains("killed"));
    }
}
