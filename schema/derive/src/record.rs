//! `#[derive(Record)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, Result, Type};

use crate::attributes::{FieldAttribute, RecordAttribute, doc};
use crate::paths;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let attribute = RecordAttribute::of(input)?;
    let fields = named_fields(input)?;
    check_shape(input)?;
    for field in fields {
        check_type(&field.ty)?;
    }

    let (schema, ident) = (paths::schema(), &input.ident);
    let RecordAttribute {
        name,
        version,
        follows,
    } = &attribute;
    let text = doc(&input.attrs);
    let definitions = fields
        .iter()
        .map(|field| definition(&schema, ident, field))
        .collect::<Result<Vec<_>>>()?;
    let kinds = fields
        .iter()
        .map(|field| kind_check(&schema, field))
        .collect::<Result<Vec<_>>>()?;
    let holes = hole_checks(ident, &name.value(), fields);
    let (chain, follow_check) = chain(&schema, ident, follows.as_ref());

    Ok(quote! {
        #[automatically_derived]
        impl #schema::Record for #ident {
            const NAME: &'static str = #name;
            const VERSION: u32 = #version;
            const FIELDS: &'static [#schema::FieldDef] = &[#(#definitions),*];
            const DOC: &'static str = #text;
            fn chain() -> #schema::Chain { #chain }
        }
        const _: () = { #(#kinds)* #(#holes)* #follow_check };
    })
}

fn named_fields(
    input: &DeriveInput,
) -> Result<&syn::punctuated::Punctuated<Field, syn::Token![,]>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => Ok(&fields.named),
            _ => Err(Error::new_spanned(
                &input.ident,
                "a record is a struct with at least one named field",
            )),
        },
        _ => Err(Error::new_spanned(
            &input.ident,
            "a record is a struct: any bytes must be a valid value; store an enum as an integer with #[field(names(...))]",
        )),
    }
}

fn check_shape(input: &DeriveInput) -> Result<()> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a record has one layout: no generics",
        ));
    }
    let mut repr_c = false;
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("repr"))
    {
        attribute.parse_nested_meta(|meta| {
            repr_c |= meta.path.is_ident("C");
            if meta.input.peek(syn::token::Paren) {
                let content;
                syn::parenthesized!(content in meta.input);
                content.parse::<TokenStream>()?;
            }
            Ok(())
        })?;
    }
    match repr_c {
        true => Ok(()),
        false => Err(Error::new_spanned(
            &input.ident,
            "a record needs #[repr(C)]: the compiler may order the fields of other structs anew in each build",
        )),
    }
}

/// What can be told from the name alone, with a better sentence than the trait bound gives.
fn check_type(ty: &Type) -> Result<()> {
    let refuse = |why: &str| Err(Error::new_spanned(ty, why));
    match ty {
        Type::Array(array) => check_type(&array.elem),
        Type::Reference(_) | Type::Ptr(_) | Type::BareFn(_) => refuse(
            "a record holds no pointer: each process maps the memory elsewhere; store an offset or an id",
        ),
        Type::Tuple(_) => refuse("a tuple has no fixed layout: use named fields"),
        Type::Path(path) => match path
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string())
            .as_deref()
        {
            Some("bool") => refuse(
                "a record holds no bool: any byte must be a valid value; use u8 and compare with 0",
            ),
            Some("char") => {
                refuse("a record holds no char: any bytes must be a valid value; use u32")
            }
            Some("usize" | "isize") => refuse("usize differs between machines: use u32 or u64"),
            Some("f32" | "f64") => {
                refuse("a record holds fixed-width integers only: store a scaled integer")
            }
            Some("Option" | "Vec" | "String" | "Box" | "Rc" | "Arc" | "Cow") => refuse(
                "a record holds its bytes itself, and any bytes must be a valid value: use integers and arrays of them",
            ),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn definition(schema: &TokenStream, record: &Ident, field: &Field) -> Result<TokenStream> {
    let (ident, ty) = (field.ident.as_ref().expect("named"), &field.ty);
    let FieldAttribute { names, .. } = FieldAttribute::of(field)?;
    let (name, text, kind) = (
        ident.to_string(),
        doc(&field.attrs),
        kind_of(schema, field)?,
    );
    Ok(quote! {
        #schema::FieldDef {
            name: #name,
            offset: ::core::mem::offset_of!(#record, #ident) as u32,
            size: ::core::mem::size_of::<#ty>() as u32,
            kind: #kind,
            names: &[#(#names),*],
            doc: #text,
        }
    })
}

/// The attribute's kind, padding for `_names`, else the type's.
fn kind_of(schema: &TokenStream, field: &Field) -> Result<TokenStream> {
    let ty = &field.ty;
    if let Some(kind) = FieldAttribute::of(field)?.kind {
        return Ok(quote!(#schema::Kind::#kind));
    }
    if field
        .ident
        .as_ref()
        .is_some_and(|ident| ident.to_string().starts_with('_'))
    {
        return Ok(quote!(#schema::Kind::Pad));
    }
    Ok(quote_spanned!(ty.span()=> <#ty as #schema::FieldType>::KIND))
}

/// A field type must be one (also under `#[field(kind)]`), and hold a whole number of its kind's elements.
fn kind_check(schema: &TokenStream, field: &Field) -> Result<TokenStream> {
    let (ty, kind) = (&field.ty, kind_of(schema, field)?);
    let name = field.ident.as_ref().expect("named");
    let why = format!("field `{name}` does not hold a whole number of elements of its kind");
    Ok(quote_spanned! {ty.span()=>
        let _ = <#ty as #schema::FieldType>::KIND;
        ::core::assert!(#schema::Kind::fits(#kind, ::core::mem::size_of::<#ty>()), #why);
    })
}

/// Each field begins where the one before it ends, and the struct ends with the last.
fn hole_checks(
    record: &Ident,
    name: &str,
    fields: &syn::punctuated::Punctuated<Field, syn::Token![,]>,
) -> Vec<TokenStream> {
    let mut checks = Vec::new();
    let mut end = quote!(0);
    for field in fields {
        let (ident, ty) = (field.ident.as_ref().expect("named"), &field.ty);
        let why = format!(
            "record \"{name}\": the compiler puts padding in front of `{ident}`; write it down as a field, `_pad: [u8; N]`, or order the fields by size"
        );
        checks.push(quote_spanned! {ident.span()=>
            ::core::assert!(::core::mem::offset_of!(#record, #ident) == #end, #why);
        });
        end = quote!(::core::mem::offset_of!(#record, #ident) + ::core::mem::size_of::<#ty>());
    }
    let why = format!(
        "record \"{name}\": the compiler puts padding at its end; write it down as a field, `_pad: [u8; N]`"
    );
    checks.push(quote_spanned! {record.span()=>
        ::core::assert!(::core::mem::size_of::<#record>() == #end, #why);
    });
    checks
}

fn chain(
    schema: &TokenStream,
    record: &Ident,
    follows: Option<&Type>,
) -> (TokenStream, TokenStream) {
    let Some(previous) = follows else {
        return (quote!(#schema::Chain::first::<Self>()), TokenStream::new());
    };
    let chain = quote_spanned! {previous.span()=>
        #schema::Chain::then::<#previous, Self>(<#previous as #schema::Record>::chain())
    };
    let check = quote_spanned! {previous.span()=>
        #schema::record::check_follows(
            <#record as #schema::Record>::NAME,
            <#record as #schema::Record>::VERSION,
            <#previous as #schema::Record>::NAME,
            <#previous as #schema::Record>::VERSION,
        );
    };
    (chain, check)
}
