//! `manta module sign` and `verify`: who says that a module is what it is.
use std::path::Path;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{ErrorCode, ModuleMark};
use manta_module::{PublicKey, Signature, Signed, Statement, Verified};
use manta_types::{SignedBy, Signer, Standing};
use serde_json::{Value, json};

use super::package::write;
use crate::package::{self, Package, SourceArgs};
use crate::registry::{RegistryArgs, split};
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{clean, iso, one_line};
use crate::{keys, out};

/// With which key a module is signed on the way.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignArgs {
    /// Sign it with this key of yours, by name or file.
    #[arg(long = "sign", value_name = "KEY")]
    key: Option<String>,
}

/// Options of `manta module sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is signed: an archive that `manta module package` wrote, or a published NAME@VERSION.
    #[arg(value_name = "ARCHIVE|NAME@VERSION")]
    module: String,

    /// The key of yours that signs, by name or file.
    #[arg(long, value_name = "KEY")]
    key: String,

    /// When the signature ends: a date (2027-06-30) or a time from now (90d) [default: when the key does].
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options of `manta module verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The module: an archive that `manta module package` wrote, or a published NAME@VERSION.
    #[arg(value_name = "ARCHIVE|NAME@VERSION")]
    module: String,

    /// A node's policy file: the signers that it trusts, and those that it revoked.
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,

    /// A publisher's public key that you trust, beside your own; repeat it for each.
    #[arg(long, value_name = "NAME=KEY")]
    signer: Vec<String>,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl SignArgs {
    /// Signs the package, where that was asked for.
    pub(super) fn sign(&self, package: &mut Package) -> Result<(), Failure> {
        let Some(key) = &self.key else { return Ok(()) };
        let signature = keys::open(key)?.sign((&package.packed.bundle).into(), None)?;
        package.sign(&signature)
    }
}

/// Signs a module where it lies.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let key = keys::open(&args.key)?;
    let expires = args.expires.as_deref().map(keys::moment).transpose()?;
    let source = &args.module;
    let signature = if package::is_archive(source) {
        let mut package = package::open(source, &SourceArgs::default()).await?;
        let signature = key.sign((&package.packed.bundle).into(), expires)?;
        package.sign(&signature)?;
        write(&package, Path::new(source))?;
        signature
    } else {
        let (name, Some(wanted)) = split(source) else {
            let failure = Failure::usage(format!("`{}` is neither an archive nor NAME@VERSION", clean(source)));
            return Err(failure.hint("`manta module package` and `publish` sign what lies in a folder: --sign KEY"));
        };
        let registry = args.registry.open()?;
        let version = registry.choose(name, Some(wanted)).await?;
        let pinned = registry.pin(&version).await?;
        let signature = key.sign((&pinned.bundle).into(), expires)?;
        registry.mark(&version.name, &version.version, ModuleMark::Sign(signature.text())).await?;
        signature
    };
    let statement = signature.statement();
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "signature": *signature}))?,
        Form::Text => {
            let (name, version) = (clean(&statement.module), clean(&statement.version));
            out::put(&format!("{name}@{version}\n"))?;
            out::say(&format!(
                "signed bundle {} with the key `{}` ({})",
                statement.bundle,
                key.name,
                statement.signer.short()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One signature, judged.
struct Judged {
    statement: Option<Statement>,
    signer: Option<String>,
    standing: &'static str,
    problem: Option<String>,
}

/// Says of each signature what it is worth here; succeeds where one is valid and none was tampered with.
pub(crate) async fn verify(args: VerifyArgs, form: Form) -> Result<ExitCode, Failure> {
    let mut signers = match &args.policy {
        Some(path) => manta_node::read_policy(path)?.signers,
        None => Vec::new(),
    };
    // What the policy says of a key comes first: a key that it revoked stays so.
    signers.extend(trusted(&args.signer)?);
    let package = package::find(&args.module, &SourceArgs::default(), &args.registry).await?;
    let module = Signed::from(&package.packed.bundle);
    let judged: Vec<Judged> = package.signatures.iter().map(|text| judge(text, module, &signers)).collect();
    let is_forged = judged.iter().any(|one| one.problem.is_some());
    let is_trusted = !is_forged && judged.iter().any(|one| one.standing == "valid");
    match form {
        Form::Json => out::put_json(&json!({
            "schema_version": SCHEMA_VERSION,
            "module": module.module,
            "version": module.version,
            "bundle": module.bundle,
            "signatures": judged.iter().map(document).collect::<Vec<_>>(),
            "trusted": is_trusted,
        }))?,
        Form::Text if judged.is_empty() => {}
        Form::Text => out::put(&render(&judged).render(out::width()))?,
    }
    if is_trusted {
        return Ok(ExitCode::SUCCESS);
    }
    let whose = format!("module `{}` {}", clean(module.module), clean(module.version));
    Err(match judged.iter().find_map(|one| one.problem.as_ref()) {
        Some(problem) => Failure::new(ErrorCode::Untrusted, format!("{whose} has a signature that is none: {problem}")),
        None if judged.is_empty() => Failure::new(ErrorCode::Untrusted, format!("{whose} is not signed"))
            .hint("its publisher signs it with `manta module sign`"),
        None => Failure::new(ErrorCode::Untrusted, format!("no signature of {whose} is by a key that you trust"))
            .hint("ask the signer for the public key (`manta key show`), and give it with --signer NAME=KEY"),
    })
}

fn judge(text: &str, module: Signed<'_>, signers: &[Signer]) -> Judged {
    let verified = Signature::parse(text).and_then(|signature| signature.verify(module));
    match verified {
        Err(error) => Judged { statement: None, signer: None, standing: "forged", problem: Some(error.to_string()) },
        Ok(signature) => of(&signature, signers),
    }
}

fn of(signature: &Verified<Signature>, signers: &[Signer]) -> Judged {
    let by: SignedBy = signature.signed_by();
    let standing = Standing::of(&by, signers, Some(keys::now_ms()));
    let signer = standing.signer().map(|signer| signer.name.clone());
    Judged { statement: Some(signature.statement().clone()), signer, standing: standing.name(), problem: None }
}

fn document(judged: &Judged) -> Value {
    let Judged { statement, signer, standing, problem } = judged;
    json!({"statement": statement, "signer": signer, "standing": standing, "problem": problem})
}

fn render(judged: &[Judged]) -> Table {
    let mut table = Table::new(&["STANDING", "SIGNER", "KEY", "SIGNED", "EXPIRES"]);
    for one in judged {
        let signer = one.signer.as_deref().map_or_else(|| "-".to_owned(), |name| one_line(name, 32));
        let told = one.statement.as_ref().map(|statement| {
            let expires = statement.expires_ms.map_or_else(|| "never".to_owned(), iso);
            [statement.signer.short(), iso(statement.signed_ms), expires]
        });
        let [key, signed, expires] = told.unwrap_or_else(|| ["-".to_owned(), "-".to_owned(), "-".to_owned()]);
        table.row(vec![one.standing.to_owned(), signer, key, signed, expires]);
    }
    table
}

/// Those whom this user trusts: the user's own keys, and whom the command line names.
fn trusted(named: &[String]) -> Result<Vec<Signer>, Failure> {
    let mut signers = Vec::new();
    for option in named {
        let refuse = |why: String| Failure::usage(format!("--signer `{}` {why}", one_line(option, 120)));
        let (name, key) = option.split_once('=').ok_or_else(|| refuse("is not NAME=KEY".to_owned()))?;
        let key: PublicKey = key.parse().map_err(|error| refuse(format!("names no key: {error}")))?;
        signers.push(signer(name, &key, None));
    }
    for (name, key) in keys::all()? {
        match key {
            Ok(key) => signers.push(signer(&name, &key.secret.public(), key.expires_ms)),
            Err(failure) => out::say(&format!("warning: {}", failure.message)),
        }
    }
    Ok(signers)
}

fn signer(name: &str, key: &PublicKey, expires_ms: Option<u64>) -> Signer {
    Signer { name: name.to_owned(), key: key.fingerprint(), expires_ms, is_revoked: false, line: 0 }
}
