//! What the suite `abuse` needs: programs as data, nodes in every tier, an honest neighbour, and what agents hold.
pub(crate) mod footprint;
pub(crate) mod neighbour;
pub(crate) mod nodes;
pub(crate) mod program;
pub(crate) mod rounds;
