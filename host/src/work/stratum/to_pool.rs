//! The lines that a client sends to a pool (pool protocol sections 3.2, 3.6, 3.8). None carries `jsonrpc`, and none ends
//! with a newline.

use super::{Encoding, quoted};

/// How a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `params` of authorize is an object.
    Object,
    /// `params` of authorize is `["wallet.worker", "password"]`. Jobs and shares are objects all the same.
    Array,
}

impl Dialect {
    /// The word that the configuration uses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
        }
    }
}

/// What a submit says of who found the share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signature {
    /// `wallet` and `worker`.
    Both,
    /// `worker` = `wallet.worker` alone.
    Joined,
}

/// Who a client is, to a pool.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Who is paid, exactly as the user gave it.
    pub wallet: String,
    /// Name of the machine; may be empty.
    pub worker: String,
    /// Name and version of the program.
    pub agent: String,
    /// Password, or the pool's options.
    pub password: String,
}

impl Login {
    /// `wallet.worker`, or the wallet alone where the worker has no name.
    pub fn joined(&self) -> String {
        if self.worker.is_empty() { self.wallet.clone() } else { format!("{}.{}", self.wallet, self.worker) }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password may be a real one.
        f.debug_struct("Login")
            .field("wallet", &self.wallet)
            .field("worker", &self.worker)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// `mining.authorize`. `wants` asks for an encoding where it is not the plain one.
pub fn authorize(id: u64, dialect: Dialect, login: &Login, wants: Encoding) -> String {
    match dialect {
        Dialect::Object => {
            let kind = match wants {
                Encoding::Plain => String::new(),
                Encoding::Gzip => format!(r#","type":{}"#, quoted(wants.word())),
            };
            format!(
                r#"{{"id":{id},"method":"mining.authorize","params":{{"wallet":{},"worker":{},"agent":{},"pass":{}{kind}}}}}"#,
                quoted(&login.wallet),
                quoted(&login.worker),
                quoted(&login.agent),
                quoted(&login.password),
            )
        }
        Dialect::Array => format!(
            r#"{{"id":{id},"method":"mining.authorize","params":[{},{}]}}"#,
            quoted(&login.joined()),
            quoted(&login.password),
        ),
    }
}

/// One share.
#[derive(Clone, Copy, Debug)]
pub struct Submit<'a> {
    /// Id of the request.
    pub id: u64,
    /// Who found it.
    pub login: &'a Login,
    /// How that is said.
    pub signature: Signature,
    /// The pool's name for the job, as JSON text.
    pub job_id: &'a str,
    /// The proof's bytes.
    pub proof: &'a [u8],
    /// How they travel.
    pub encoding: Encoding,
    /// Whether the encoding is named in the share, as MoneroOcean wants it.
    pub names_encoding: bool,
}

/// `mining.submit`.
pub fn submit(share: &Submit<'_>) -> String {
    let login = share.login;
    let who = match share.signature {
        Signature::Both => {
            format!(r#""wallet":{},"worker":{}"#, quoted(&login.wallet), quoted(&login.worker))
        }
        Signature::Joined => format!(r#""worker":{}"#, quoted(&login.joined())),
    };
    let named = match (share.names_encoding, share.encoding) {
        (true, Encoding::Gzip) => r#","proof_encoding":"gzip""#,
        _ => "",
    };
    format!(
        r#"{{"id":{},"method":"mining.submit","params":{{{who},"job_id":{},"plain_proof":"{}"{named}}}}}"#,
        share.id,
        share.job_id,
        share.encoding.encode(share.proof),
    )
}

/// `mining.ping`.
pub fn ping(id: u64) -> String {
    format!(r#"{{"id":{id},"method":"mining.ping","params":{{}}}}"#)
}

/// The answer `text` to a request of the pool's, whose id is JSON text.
pub fn answer(id: &str, text: &str) -> String {
    format!(r#"{{"id":{id},"result":{},"error":null}}"#, quoted(text))
}

/// The answer to a request that is not known here.
pub fn unsupported(id: &str) -> String {
    format!(r#"{{"id":{id},"result":null,"error":[20,"unsupported",null]}}"#)
}
