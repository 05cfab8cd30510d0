//! `bench modules`: what packages of modules cost.

mod layers;

pub(crate) use layers::measure as layers;
