//! `#[derive(Zones)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, Result};

use crate::paths;

/// Policies by the name they have in `#[zone(...)]`.
const POLICIES: &[(&str, &str)] = &[
    ("adopt", "Adopt"),
    ("migrate", "Migrate"),
    ("carry", "Carry"),
    ("rebuild", "Rebuild"),
    ("all_at_once", "AllAtOnce"),
    ("refuse", "Refuse"),
];

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "the state of a datapath is a struct of zones",
        ));
    };
    let fields: Vec<&Field> = match &data.fields {
        Fields::Named(fields) => fields.named.iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => {
            return Err(Error::new_spanned(
                &input.ident,
                "zones are known by their names: use named fields",
            ));
        }
    };
    let (baton, schema, ident) = (paths::runtime(), paths::schema(), &input.ident);
    let zone = quote!(#baton::zone);
    let (mut declare, mut open, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let (member, ty, policy) = (
            field.ident.as_ref().expect("named"),
            &field.ty,
            policy(field)?,
        );
        let name = member.to_string();
        declare.push(quote_spanned! {ty.span()=>
            <#ty as #zone::Zone>::declare(#name, #schema::Policy::#policy, d);
        });
        open.push(quote_spanned! {ty.span()=>
            #member: <#ty as #zone::Zone>::open(#name, #schema::Policy::#policy, o)?
        });
        each.push(quote!(f(#name, &mut self.#member);));
    }
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl #impl_generics #zone::Zones for #ident #type_generics #where_clause {
            fn declare(d: &mut #zone::Declare) { #(#declare)* }
            fn open(o: &mut #zone::Opener<'_>) -> ::core::result::Result<Self, #zone::ZoneError> {
                ::core::result::Result::Ok(#ident { #(#open),* })
            }
            fn each(&mut self, f: &mut dyn FnMut(&'static str, &mut dyn #zone::Live)) { #(#each)* }
        }
    })
}

fn policy(field: &Field) -> Result<Ident> {
    let known = || {
        POLICIES
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(attribute) = field
        .attrs
        .iter()
        .find(|attribute| attribute.path().is_ident("zone"))
    else {
        let why = format!(
            "a zone needs its policy, #[zone(migrate)]; known are: {}",
            known()
        );
        return Err(Error::new_spanned(field, why));
    };
    let wanted: Ident = attribute.parse_args()?;
    match POLICIES.iter().find(|(name, _)| wanted == name) {
        Some((_, variant)) => Ok(Ident::new(variant, wanted.span())),
        None => Err(Error::new_spanned(
            &wanted,
            format!("unknown policy; known are: {}", known()),
        )),
    }
}
