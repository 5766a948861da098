//! Restores: the swap and what can happen to it.

mod swap;
