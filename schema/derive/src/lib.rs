//! The derive macros `Record`, `Zones` and `Reason`.
//!
//! Re-exported by `baton_schema`, where they are documented; every mistake they refuse is a compile error
//! with a sentence that says what to write instead.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod attributes;
mod paths;
mod reason;
mod record;
mod zones;

/// Makes a `#[repr(C)]` struct a record: `#[record(name = "nat.session", version = 2, follows = SessionV1)]`.
///
/// Fields may carry `#[field(kind = "ipv4")]` and `#[field(names("new", "established"))]`.
#[proc_macro_derive(Record, attributes(record, field))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    record::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct of zones the state of a datapath: each field carries its policy, `#[zone(migrate)]`.
#[proc_macro_derive(Zones, attributes(zone))]
pub fn derive_zones(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    zones::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes an enum without data a list of named drop counters.
#[proc_macro_derive(Reason)]
pub fn derive_reason(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    reason::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
