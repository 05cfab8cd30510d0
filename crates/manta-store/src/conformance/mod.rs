//! What every backend must do, as named checks; a backend runs all of them with one macro call in its tests:
//! [`state_conformance!`](crate::state_conformance) with what makes a fresh [`state::Bench`], or
//! [`blob_conformance!`](crate::blob_conformance) with what makes a fresh store and whatever must live as long.
pub mod blob;
pub mod fault;
pub mod sample;
pub mod state;
