//! The machine beside a model of the world: every order of deaths, answers, deadlines and
//! operator's wishes is walked through, and in each reachable pair of both the invariants hold.

mod reach;
mod stories;
mod words;
mod world;
