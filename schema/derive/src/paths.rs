//! By which name the user's package knows our crates.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

/// `::baton_schema`, or `::baton::schema` where only the runtime is a dependency.
pub(crate) fn schema() -> TokenStream {
    match crate_name("baton-schema") {
        Ok(FoundCrate::Itself) => quote!(::baton_schema),
        Ok(FoundCrate::Name(name)) => absolute(&name),
        Err(_) => {
            let runtime = runtime();
            quote!(#runtime::schema)
        }
    }
}

/// `::baton`, the library of package `baton-runtime`, unless the user renamed it.
pub(crate) fn runtime() -> TokenStream {
    match crate_name("baton-runtime") {
        Ok(FoundCrate::Name(name)) if name != "baton_runtime" => absolute(&name),
        _ => quote!(::baton),
    }
}

fn absolute(name: &str) -> TokenStream {
    let name = Ident::new(name, Span::call_site());
    quote!(::#name)
}
