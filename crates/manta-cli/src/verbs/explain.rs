//! `manta explain`: what an error code means, and what to do about it.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{ErrorCode, Explanation};
use manta_types::name::nearest;
use serde_json::{Value, json};

use crate::out;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::one_line;

/// Options of `manta explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code: `MANTA-0107`, `0107` or `107` [default: all of them].
    code: Option<String>,
}

/// Prints one page, or the list of all.
pub(crate) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    match args.code.as_deref().map(meant).transpose()? {
        Some(code) if form == Form::Json => {
            out::put_json(&json!({"schema_version": SCHEMA_VERSION, "error": document(code)}))?;
        }
        Some(code) => out::put(&page(code))?,
        None if form == Form::Json => {
            let all: Vec<Value> = ErrorCode::ALL.iter().copied().map(document).collect();
            out::put_json(&json!({"schema_version": SCHEMA_VERSION, "errors": all}))?;
        }
        None => {
            let mut table = Table::new(&["CODE", "WHAT", "EXIT"]);
            for code in ErrorCode::ALL {
                table.row(vec![code.code().to_owned(), code.title().to_owned(), code.exit().to_string()]);
            }
            out::put(&table.render(out::width()))?;
            out::say("`manta explain CODE` says more of one of them");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn meant(text: &str) -> Result<ErrorCode, Failure> {
    ErrorCode::meant_by(text).ok_or_else(|| {
        let failure = Failure::new(ErrorCode::NotFound, format!("there is no error code `{}`", one_line(text, 40)));
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        // What all codes begin with does not make two of them alike.
        let known = ErrorCode::ALL.iter().filter_map(|code| code.code().strip_prefix("MANTA-"));
        match nearest(&format!("{digits:0>4}"), known) {
            Some(near) if !digits.is_empty() => failure.hint(format!("did you mean `MANTA-{near}`?")),
            _ => failure.hint("`manta explain` lists them all"),
        }
    })
}

fn document(code: ErrorCode) -> Value {
    let Explanation { meaning, example, remedy } = code.explanation();
    json!({
        "code": code.code(),
        "title": code.title(),
        "meaning": meaning,
        "example": example,
        "remedy": remedy,
        "exit": code.exit(),
        "status": code.status(),
        "docs": code.docs(),
    })
}

fn page(code: ErrorCode) -> String {
    let Explanation { meaning, example, remedy } = code.explanation();
    let width = out::width().unwrap_or(80).clamp(40, 100);
    let (id, title, exit, status) = (code.code(), code.title(), code.exit(), code.status());
    format!(
        "{id}: {title}\n\n{}\n\nexample     error[{id}]: {example}\nwhat to do  {}\nexit code   {exit}\nHTTP status {status}\n",
        folded(meaning, width, ""),
        folded(remedy, width.saturating_sub(12), "            "),
    )
}

/// Text in lines of at most `width` characters where words allow it; all but the first begin with `indent`.
fn folded(text: &str, width: usize, indent: &str) -> String {
    let (mut folded, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            folded.push('\n');
            folded.push_str(indent);
            used = 0;
        } else if used > 0 {
            folded.push(' ');
            used += 1;
        }
        folded.push_str(word);
        used += length;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_offers_the_nearest() {
        let failure = meant("MANTA-0170").unwrap_err();
        assert_eq!(failure.exit, 3);
        assert!(failure.hint.as_deref().is_some_and(|hint| hint.starts_with("did you mean `MANTA-0")), "{failure:?}");
        for far in ["MANTA-9999", "9999", "MANTA-999999"] {
            assert_eq!(meant(far).unwrap_err().hint.as_deref(), Some("`manta explain` lists them all"), "{far}");
        }
        assert_eq!(meant("oops").unwrap_err().hint.as_deref(), Some("`manta explain` lists them all"));
    }

    #[test]
    fn pages_fold_at_words() {
        assert_eq!(folded("one two three", 7, "  "), "one two\n  three");
        for code in ErrorCode::ALL {
            let page = page(*code);
            assert!(page.starts_with(code.code()) && page.contains("what to do  "), "{page}");
        }
    }
}
