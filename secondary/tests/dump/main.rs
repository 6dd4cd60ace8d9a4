//! `baton-dump` against arenas made here: a live one behind a socket, images, and damaged copies of them.

mod attach;
mod damage;
mod fixture;
mod show;
mod verbs;
