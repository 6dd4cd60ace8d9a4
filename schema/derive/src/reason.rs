//! `#[derive(Reason)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::paths;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "drop reasons are the variants of an enum",
        ));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "an enum of drop reasons has no generics",
        ));
    }
    let mut names = Vec::new();
    let mut arms = Vec::new();
    for (index, variant) in data.variants.iter().enumerate() {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(
                variant,
                "a drop reason is a counter: it carries no data",
            ));
        }
        let ident = &variant.ident;
        names.push(snake_case(&ident.to_string()));
        arms.push(quote!(Self::#ident => #index));
    }
    let (schema, ident) = (paths::schema(), &input.ident);
    // An empty enum has no value to match on.
    let index = if arms.is_empty() {
        quote!(match self {})
    } else {
        quote!(match self { #(#arms),* })
    };
    Ok(quote! {
        #[automatically_derived]
        impl #schema::Reason for #ident {
            const NAMES: &'static [&'static str] = &[#(#names),*];
            fn index(self) -> usize { #index }
        }
    })
}

/// `TableFull` becomes `table_full`, `Ipv6NotBuilt` becomes `ipv6_not_built`, `NoARP` becomes `no_arp`.
fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let after_lower = at > 0 && !chars[at - 1].is_uppercase();
        let before_lower = at > 0 && chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn words_are_found_in_camel_case() {
        for (camel, snake) in [
            ("NotIp", "not_ip"),
            ("TableFull", "table_full"),
            ("Ipv6NotBuilt", "ipv6_not_built"),
            ("NoARP", "no_arp"),
            ("ARPMissing", "arp_missing"),
            ("X", "x"),
        ] {
            assert_eq!(snake_case(camel), snake);
        }
    }
}
