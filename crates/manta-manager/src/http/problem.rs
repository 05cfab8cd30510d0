//! Errors as the API tells them: RFC 9457 problem details with Manta's code.
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use manta_api::{ErrorCode, Problem};

use crate::ManagerError;

impl From<ManagerError> for Problem {
    fn from(error: ManagerError) -> Self {
        tracing::warn!(%error, "a request failed");
        let problem = Self::new(error.code(), error.to_string());
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

/// Our own fault, in words.
pub(crate) fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Internal, format!("the manager failed: {error}"))
}

/// The code of the problem that an answer tells; in its extensions.
#[derive(Debug, Clone)]
pub(super) struct Told(pub(super) String);

/// The answer that tells a problem.
pub(crate) fn respond(problem: &Problem) -> Response {
    let body = serde_json::to_vec(problem).expect("texts and a number: always JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.extensions_mut().insert(Told(problem.code.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if problem.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
