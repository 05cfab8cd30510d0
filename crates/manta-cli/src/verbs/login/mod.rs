//! `manta login` and `manta logout`: a token of your own for a context, from the issuer that the manager trusts.
mod landing;

use std::io::IsTerminal as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{ErrorCode, NewTokenView, SignInBegun, SignInOutcome, SignInReturned, TokenView};
use manta_client::{Client, Token};
use reqwest::Url;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use self::landing::Landing;
use crate::connection::{ConnectionArgs, variable};
use crate::out;
use crate::report::{Failure, Form};
use crate::settings::{self, Files, Origin, Secret, Settings};
use crate::text::{iso, one_line};

/// Options of `manta login`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The context to sign in for [default: MANTA_CONTEXT, the project's, the current one].
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Sign in on another device: a page and a code are printed, and no browser of this machine is needed.
    #[arg(long)]
    device: bool,
}

/// Options of `manta logout`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The context to sign out of [default: MANTA_CONTEXT, the project's, the current one].
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Signs in.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let (context, connection) = chosen(args.context)?;
    let client = connection.client_as(None)?;
    let NewTokenView { token, secret } =
        if args.device { on_device(&client).await? } else { in_browser(&client).await? };
    settings::keep_token(&context, &secret)?;
    tell(&context, &token, form)?;
    Ok(ExitCode::SUCCESS)
}

/// Signs out.
pub(crate) async fn logout(args: LogoutArgs, form: Form) -> Result<ExitCode, Failure> {
    let (context, connection) = chosen(args.context)?;
    let Some(token) = kept(&context)? else {
        let failure = Failure::new(ErrorCode::NotFound, format!("nobody is signed in for the context `{context}`"));
        return Err(failure.hint("`manta context show` says where its token is"));
    };
    let client = connection.client_as(Some(token))?;
    match client.whoami().await.map(|who| who.token) {
        Ok(Some(id)) => drop(client.revoke_token(&id, &Client::new_key()).await?),
        Ok(None) => {
            let sentence =
                format!("the token of the context `{context}` is the administrator's, which nobody can revoke");
            return Err(Failure::new(ErrorCode::Forbidden, sentence)
                .hint(format!("`manta context rm {context}` takes it away from here")));
        }
        Err(error) => {
            let failure = Failure::from(error);
            // What counts no more need not be revoked.
            if failure.code.as_deref() != Some(ErrorCode::Unauthorized.code()) {
                return Err(failure);
            }
        }
    }
    settings::drop_token(&context)?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "context": context}))?,
        Form::Text => out::say(&format!("you are signed out of context {context}, and its token counts no more")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The context that is meant, whose token is to be kept with the credentials.
fn chosen(context: Option<String>) -> Result<(String, ConnectionArgs), Failure> {
    let connection = ConnectionArgs { context, ..ConnectionArgs::default() };
    let Some(context) = Settings::resolve(&connection)?.context.map(|found| found.value) else {
        let failure = Failure::usage("a sign-in is kept with a context, and none is chosen");
        return Err(failure.hint("manta context add NAME --manager URL, then manta login --context NAME"));
    };
    if let Some(found) = &Files::read()?.context(&context)?.token_file {
        let sentence = format!("{}: the context `{context}` takes its token from a file", found.origin);
        return Err(Failure::new(ErrorCode::Configuration, sentence).hint("take `token_file` away there to sign in"));
    }
    Ok((context.clone(), ConnectionArgs { context: Some(context), ..connection }))
}

/// The token that is kept for a context.
fn kept(context: &str) -> Result<Option<Token>, Failure> {
    let files = Files::read()?;
    Ok(match files.secret(context, files.context(context)?)?.map(|found| found.value) {
        Some(Secret::Token(token)) => Some(token),
        Some(Secret::File(_)) | None => None,
    })
}

async fn in_browser(client: &Client) -> Result<NewTokenView, Failure> {
    let landing = Landing::bind(&client.sign_in().await?.redirect).await?;
    let begun = client.begin_sign_in(Some(landing.address())).await?;
    let (SignInBegun { ticket, url, .. }, ends) = (&begun, ends(&begun));
    let state = begun.state.clone().unwrap_or_default();
    page(url)?;
    out::complain(&format!("sign in on this page:\n  {url}"));
    open(url);
    let code = timeout_at(ends, landing.code(&state)).await.map_err(|_| late(&begun))??;
    let returned = SignInReturned { redirect: landing.address().to_owned(), state, code };
    match client.end_sign_in(ticket, Some(returned)).await? {
        SignInOutcome { token: Some(token), .. } => Ok(token),
        SignInOutcome { token: None, .. } => Err(Failure::internal("the manager ended the sign-in without a token")),
    }
}

async fn on_device(client: &Client) -> Result<NewTokenView, Failure> {
    let begun = client.begin_sign_in(None).await?;
    let (SignInBegun { ticket, url, user_code, .. }, ends) = (&begun, ends(&begun));
    page(url)?;
    let code = one_line(user_code.as_deref().unwrap_or("-"), 40);
    out::complain(&format!(
        "sign in on this page, on any device:\n  {url}\nand see that it shows this code:\n  {code}"
    ));
    let mut wait_s = begun.wait_s.unwrap_or(1);
    while Instant::now() < ends {
        sleep(Duration::from_secs(wait_s)).await;
        let SignInOutcome { token, wait_s: longer_s } = client.end_sign_in(ticket, None).await?;
        if let Some(token) = token {
            return Ok(token);
        }
        wait_s = wait_s.max(longer_s.unwrap_or(1));
    }
    Err(late(&begun))
}

fn ends(begun: &SignInBegun) -> Instant {
    Instant::now() + Duration::from_secs(begun.expires_s)
}

fn late(begun: &SignInBegun) -> Failure {
    let failure = Failure::new(ErrorCode::WaitedTooLong, format!("nobody signed in within {} s", begun.expires_s));
    failure.hint("`manta login` begins another sign-in")
}

/// Refuses to show or open what is no page of an issuer.
fn page(url: &str) -> Result<(), Failure> {
    let is_page = |url: Url| {
        let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        url.scheme() == "https" || url.scheme() == "http" && is_here
    };
    if url.parse().is_ok_and(is_page) && url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let sentence = format!("the manager names `{}` as the page to sign in on, which is none", one_line(url, 200));
    Err(Failure::new(ErrorCode::Untrusted, sentence))
}

/// Opens the page where somebody looks and a browser is known; the page is printed anyway.
fn open(url: &str) {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|name| variable(name).is_some());
    let browser = variable("BROWSER").or_else(|| has_screen.then(|| "xdg-open".to_owned()));
    if let Some(browser) = browser.filter(|_| std::io::stderr().is_terminal()) {
        let quiet = Stdio::null;
        // Whoever has no such program opens the page that is printed.
        let _ = Command::new(browser).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    }
}

fn tell(context: &str, token: &TokenView, form: Form) -> Result<(), Failure> {
    let TokenView { id, user, role, expires_ms, .. } = token;
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "context": context, "token": token}));
    }
    out::say(&format!("signed in as {user} ({role}) for context {context}, until {}: token {id}", iso(*expires_ms)));
    let other = Settings::resolve(&ConnectionArgs::default())?.token.map(|found| found.origin);
    if let Some(Origin::Variable(name)) = other {
        out::say(&format!("{name} is set, and counts before it"));
    }
    Ok(())
}
