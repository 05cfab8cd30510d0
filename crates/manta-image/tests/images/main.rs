//! The store as a whole: images of every form taken in, hostile ones refused, what is used kept.

mod forms;
mod hostile;
mod keeping;
mod support;
mod wheels;
