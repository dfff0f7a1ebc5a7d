//! Pointers to objects: what stands behind an opaque C type, and who may use it when.
//!
//! An object lies in one block of memory with a tag (kind and liveness), a count of users, and a poison mark. Shared use (`const T*` in
//! C) counts up; exclusive use (`T*`) needs the count at zero; what can't be had at once is refused with BUSY, never waited
//! for. A panic during exclusive use poisons the object. The `side` of an object is outside that discipline: it is `Sync`
//! by itself and may be used at any time (cancel, metrics).
//!
//! The tag catches NULL, misaligned pointers, a handle of another kind, and, as far as the freed memory has not been
//! reused, a handle that was freed. It can't catch an arbitrary address.
//!
//! An object of the library may hold on to another one ([`Kept`]): freeing the handle ends the value then, and the memory around it
//! stays, marked as freed, until that hold ends too.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::buffer::Out;
use super::call::{Failure, Outcome};
use super::status::{LOQUAT_BUSY, LOQUAT_INVALID_HANDLE, LOQUAT_OK, LOQUAT_POISONED};

/// An opaque C type and what a pointer to it really points to.
pub(super) trait Opaque: Sized {
    /// What shared and exclusive use reach.
    type Value: Send;
    /// What is reached at any time from any thread.
    type Side: Send + Sync;
    /// Marks a live object of this kind; each kind has its own.
    const TAG: u32;
    /// The kind's name in messages.
    const NAME: &'static str;
}

/// The object behind a handle.
#[repr(C)] // the tag lies at the same place in objects of every kind
struct Object<H: Opaque> {
    tag: AtomicU32,
    /// Number of shared users, or [`EXCLUSIVE`], [`HELD`] or [`LEFT`].
    users: AtomicU32,
    poisoned: AtomicBool,
    side: H::Side,
    /// Dropped by [`free`].
    value: UnsafeCell<ManuallyDrop<H::Value>>,
}

// SAFETY: the value is reached only through the discipline of users, one thread at a time or shared where it is Sync (see `shared`);
// the side is Send and Sync; the rest is atomic.
unsafe impl<H: Opaque> Send for Object<H> {}
// SAFETY: as above.
unsafe impl<H: Opaque> Sync for Object<H> {}

const EXCLUSIVE: u32 = u32::MAX;
/// In exclusive use by another object of the host ([`Held`]).
const HELD: u32 = u32::MAX - 1;
/// As [`HELD`], and the host has freed its handle meanwhile: the holder drops the object.
const LEFT: u32 = u32::MAX - 2;
/// Written over the tag when an object is freed.
const FREED: u32 = 0xDEAD_4C51;

/// A new object, as the pointer that the host will own.
pub(super) fn boxed<H: Opaque>(value: H::Value, side: H::Side) -> *mut H {
    let object: Object<H> = Object {
        tag: AtomicU32::new(H::TAG),
        users: AtomicU32::new(0),
        poisoned: AtomicBool::new(false),
        side,
        value: UnsafeCell::new(ManuallyDrop::new(value)),
    };
    Arc::into_raw(Arc::new(object)).cast_mut().cast()
}

/// The object of a handle, with what can be checked checked.
///
/// # Safety
/// `pointer` is NULL, or addresses memory of this process that stays as it is for `'a` but for uses by this library.
unsafe fn object<'a, H: Opaque>(pointer: *const H) -> Result<&'a Object<H>, Failure> {
    let object: *const Object<H> = pointer.cast();
    if object.is_null() {
        return Err(Failure::new(LOQUAT_INVALID_HANDLE, format!("the {} handle is NULL", H::NAME)));
    }
    // SAFETY: the tag is looked at before anything else is believed; the caller promises readable memory.
    let live = object.is_aligned() && unsafe { (*object).tag.load(Ordering::Relaxed) } == H::TAG;
    if !live {
        return Err(Failure::new(LOQUAT_INVALID_HANDLE, format!("the {} handle is not a live {}", H::NAME, H::NAME)));
    }
    // SAFETY: the tag says that this is a live object of the kind.
    Ok(unsafe { &*object })
}

/// Shared use of an object while this lives.
pub(super) struct Shared<'a, H: Opaque>(&'a Object<H>);

/// A copy of the options behind a pointer, or the defaults for NULL.
///
/// # Errors
/// As [`shared`].
///
/// # Safety
/// As [`object`].
pub(super) unsafe fn copy_or_default<H: Opaque>(options: *const H) -> Result<H::Value, Failure>
where
    H::Value: Clone + Default + Sync,
{
    // SAFETY: as promised by the caller.
    Ok(if options.is_null() { H::Value::default() } else { unsafe { shared(options) }?.clone() })
}

/// Begins shared use.
///
/// # Errors
/// INVALID_HANDLE, POISONED; BUSY during exclusive use.
///
/// # Safety
/// As [`object`].
pub(super) unsafe fn shared<'a, H: Opaque>(pointer: *const H) -> Result<Shared<'a, H>, Failure>
where
    H::Value: Sync,
{
    // SAFETY: as promised by the caller.
    let object = unsafe { object(pointer) }?;
    let entered = object.users.fetch_update(Ordering::Acquire, Ordering::Relaxed, |users| (users < LEFT - 1).then(|| users + 1));
    if entered.is_err() {
        return Err(busy::<H>());
    }
    let shared = Shared(object);
    check_poison(object)?;
    Ok(shared)
}

impl<H: Opaque> Deref for Shared<'_, H> {
    type Target = H::Value;
    fn deref(&self) -> &H::Value {
        // SAFETY: the count of users is above zero and not EXCLUSIVE, so that nobody has the value mutably.
        unsafe { &*self.0.value.get() }
    }
}

impl<H: Opaque> Drop for Shared<'_, H> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

/// Exclusive use of an object while this lives.
pub(super) struct Exclusive<'a, H: Opaque>(&'a Object<H>);

/// Begins exclusive use.
///
/// # Errors
/// INVALID_HANDLE, POISONED; BUSY during any other use.
///
/// # Safety
/// As [`object`].
pub(super) unsafe fn exclusive<'a, H: Opaque>(pointer: *mut H) -> Result<Exclusive<'a, H>, Failure> {
    // SAFETY: as promised by the caller.
    let object = unsafe { object(pointer.cast_const()) }?;
    let exclusive = enter(object)?;
    check_poison(object)?;
    Ok(exclusive)
}

fn enter<H: Opaque>(object: &Object<H>) -> Result<Exclusive<'_, H>, Failure> {
    match object.users.compare_exchange(0, EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => Ok(Exclusive(object)),
        Err(_) => Err(busy::<H>()),
    }
}

impl<H: Opaque> Deref for Exclusive<'_, H> {
    type Target = H::Value;
    fn deref(&self) -> &H::Value {
        // SAFETY: the count of users is EXCLUSIVE, and this is its only holder.
        unsafe { &*self.0.value.get() }
    }
}

impl<H: Opaque> DerefMut for Exclusive<'_, H> {
    fn deref_mut(&mut self) -> &mut H::Value {
        // SAFETY: as in deref; `&mut self` excludes other references from this holder.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<H: Opaque> Drop for Exclusive<'_, H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poisoned.store(true, Ordering::Relaxed);
        }
        self.0.users.store(0, Ordering::Release);
    }
}

/// Exclusive use of an object by another one, for as long as that lives. The host may free the handle meanwhile: the object then goes
/// with its holder.
pub(super) struct Held<H: Opaque>(*mut H);

// SAFETY: the holder has the object for itself; its value is Send, its side Sync.
unsafe impl<H: Opaque> Send for Held<H> {}

/// Begins such use.
///
/// # Errors
/// As [`exclusive`].
///
/// # Safety
/// `pointer` is NULL or comes from [`boxed`], is live, and is freed by nothing but [`free`].
pub(super) unsafe fn hold<H: Opaque>(pointer: *mut H) -> Result<Held<H>, Failure> {
    // SAFETY: as promised by the caller.
    let exclusive = unsafe { exclusive(pointer) }?;
    exclusive.0.users.store(HELD, Ordering::Relaxed);
    std::mem::forget(exclusive);
    Ok(Held(pointer))
}

impl<H: Opaque> Held<H> {
    fn object(&self) -> &Object<H> {
        // SAFETY: the object lives while it is held: free() leaves it to the holder.
        unsafe { &*self.0.cast::<Object<H>>() }
    }

    /// The value.
    pub(super) fn value(&self) -> &H::Value {
        // SAFETY: held, so nobody else has the value; `&self` excludes mutable references from this holder.
        unsafe { &*self.object().value.get() }
    }

    /// The value, to be changed.
    pub(super) fn value_mut(&mut self) -> &mut H::Value {
        // SAFETY: held, so nobody else has the value; `&mut self` excludes other references from this holder.
        unsafe { &mut *self.object().value.get() }
    }
}

impl<H: Opaque> Drop for Held<H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.object().poisoned.store(true, Ordering::Relaxed);
        }
        if self.object().users.compare_exchange(HELD, 0, Ordering::Release, Ordering::Acquire).is_err() {
            // SAFETY: LEFT: the host has no handle any more, and the holder is this.
            unsafe { destroy(self.0) }
        }
    }
}

/// What may be used at any time, also while the object is in exclusive use or poisoned.
///
/// # Errors
/// INVALID_HANDLE.
///
/// # Safety
/// As [`object`].
pub(super) unsafe fn side<'a, H: Opaque + 'a>(pointer: *const H) -> Result<&'a H::Side, Failure> {
    // SAFETY: as promised by the caller.
    unsafe { object(pointer) }.map(|object| &object.side)
}

/// Makes an object with `make` and stores its pointer in `*out`: the body of the `_new` functions.
///
/// # Errors
/// INVALID_ARGUMENT where `out` can't take it, before anything is made; or what `make` says.
///
/// # Safety
/// `out` is NULL or may be written through.
pub(super) unsafe fn make<H: Opaque>(out: *mut *mut H, name: &str, make: impl FnOnce() -> Result<(H::Value, H::Side), Failure>) -> Outcome {
    // SAFETY: as promised by the caller.
    let out = unsafe { Out::new(out, name) }?;
    let (value, side) = make()?;
    out.set(boxed(value, side));
    Ok(LOQUAT_OK)
}

/// Drops an object, or leaves it to the one that [holds](Held) it. NULL, a handle that is not live, and one in use by another thread are left
/// alone (the last leaks: memory that is never reused is the least harm that is left to choose).
///
/// # Safety
/// As [`object`]; and the pointer is not used afterwards.
pub(super) unsafe fn free<H: Opaque>(pointer: *mut H) {
    // SAFETY: as promised by the caller.
    let Ok(object) = (unsafe { object::<H>(pointer) }) else { return };
    loop {
        if let Ok(exclusive) = enter(object) {
            std::mem::forget(exclusive);
            // SAFETY: the count of users says that nobody else has it.
            return unsafe { destroy(pointer) };
        }
        match object.users.compare_exchange(HELD, LEFT, Ordering::AcqRel, Ordering::Acquire) {
            // The holder has let go in between: there is nobody to leave it to.
            Err(0) => {}
            _ => return,
        }
    }
}

/// Ends an object of which this is the only user. Its memory goes with the last that [keeps](Kept) it.
///
/// # Safety
/// The pointer came from [`boxed`] and is not used afterwards by its owner; the count of users excludes all others for good.
unsafe fn destroy<H: Opaque>(pointer: *mut H) {
    // SAFETY: the pointer came from Arc::into_raw in boxed(), and this is the hold that it stood for.
    let object = unsafe { Arc::from_raw(pointer.cast::<Object<H>>().cast_const()) };
    object.tag.store(FREED, Ordering::Relaxed);
    // Never given back: nobody reaches the value from here on.
    object.users.store(EXCLUSIVE, Ordering::Relaxed);
    // SAFETY: as said above; and this happens once.
    let value = unsafe { ManuallyDrop::take(&mut *object.value.get()) };
    // A panic in a destructor must not cross into C; the rest of the value leaks then.
    drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
    drop(catch_unwind(AssertUnwindSafe(|| drop(object))));
}

/// A hold of the library on an object whose handle is the host's.
pub(super) struct Kept<H: Opaque>(Arc<Object<H>>);

/// Begins a hold.
///
/// # Errors
/// INVALID_HANDLE.
///
/// # Safety
/// As [`object`]; and the handle is not freed during this call.
pub(super) unsafe fn kept<H: Opaque>(pointer: *mut H) -> Result<Kept<H>, Failure> {
    // SAFETY: as promised by the caller.
    let object: *const Object<H> = unsafe { object(pointer.cast_const()) }?;
    // SAFETY: a live object came from Arc::into_raw in boxed(), and the host's hold on it lasts during this call.
    unsafe {
        Arc::increment_strong_count(object);
        Ok(Kept(Arc::from_raw(object)))
    }
}

impl<H: Opaque> Kept<H> {
    /// The handle.
    pub(super) fn pointer(&self) -> *mut H {
        Arc::as_ptr(&self.0).cast_mut().cast()
    }

    /// Whether both are holds on one object.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the handle has not been freed.
    pub(super) fn is_live(&self) -> bool {
        self.0.tag.load(Ordering::Relaxed) == H::TAG
    }

    /// Begins exclusive use.
    ///
    /// # Errors
    /// INVALID_HANDLE where the handle has been freed, POISONED; BUSY during any other use.
    pub(super) fn exclusive(&self) -> Result<Exclusive<'_, H>, Failure> {
        let exclusive = match enter(&*self.0) {
            Err(_) if !self.is_live() => Err(Failure::new(LOQUAT_INVALID_HANDLE, format!("the {} handle has been freed", H::NAME))),
            result => result,
        }?;
        check_poison(&*self.0)?;
        Ok(exclusive)
    }
}

fn check_poison<H: Opaque>(object: &Object<H>) -> Result<(), Failure> {
    if object.poisoned.load(Ordering::Relaxed) {
        let message = format!("an earlier internal error left this {} in an unknown state; free it", H::NAME);
        return Err(Failure::new(LOQUAT_POISONED, message));
    }
    Ok(())
}

fn busy<H: Opaque>() -> Failure {
    Failure::new(LOQUAT_BUSY, format!("the {} is in use by another thread", H::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number;
    impl Opaque for Number {
        type Value = u64;
        type Side = u8;
        const TAG: u32 = 1;
        const NAME: &'static str = "number";
    }
    struct Other;
    impl Opaque for Other {
        type Value = u64;
        type Side = u8;
        const TAG: u32 = 2;
        const NAME: &'static str = "other";
    }

    fn status<T>(result: Result<T, Failure>) -> i32 {
        result.map_or_else(|failure| failure.status, |_| 0)
    }

    #[test]
    fn use_is_shared_or_exclusive_and_refused_otherwise() {
        let pointer = boxed::<Number>(7, 3);
        // SAFETY: `pointer` is live until free().
        unsafe {
            let one = shared(pointer).unwrap();
            let two = shared(pointer).unwrap();
            assert_eq!((*one, *two), (7, 7));
            assert_eq!(status(exclusive(pointer)), LOQUAT_BUSY);
            drop((one, two));
            let mut only = exclusive(pointer).unwrap();
            *only = 8;
            assert_eq!(status(shared(pointer)), LOQUAT_BUSY);
            assert_eq!(status(exclusive(pointer)), LOQUAT_BUSY);
            assert_eq!(*side(pointer).unwrap(), 3);
            drop(only);
            assert_eq!(*shared(pointer).unwrap(), 8);
            free(pointer);
        }
    }

    #[test]
    fn a_held_object_outlives_its_handle() {
        let told = std::sync::Arc::new(());
        struct Shared;
        impl Opaque for Shared {
            type Value = std::sync::Arc<()>;
            type Side = ();
            const TAG: u32 = 3;
            const NAME: &'static str = "shared";
        }
        // SAFETY: each pointer is live until free(), and not used behind it but by its holder.
        unsafe {
            let pointer = boxed::<Shared>(std::sync::Arc::clone(&told), ());
            let mut held = hold(pointer).unwrap();
            assert_eq!(status(shared(pointer)), LOQUAT_BUSY);
            assert_eq!(status(exclusive(pointer)), LOQUAT_BUSY);
            assert_eq!(status(hold(pointer)), LOQUAT_BUSY);
            drop(held);
            held = hold(pointer).unwrap();
            free(pointer);
            assert!(std::sync::Arc::ptr_eq(held.value_mut(), &told));
            assert_eq!(std::sync::Arc::strong_count(&told), 2);
            drop(held);
            assert_eq!(std::sync::Arc::strong_count(&told), 1);

            let pointer = boxed::<Shared>(std::sync::Arc::clone(&told), ());
            drop(hold(pointer).unwrap());
            free(pointer);
            assert_eq!(std::sync::Arc::strong_count(&told), 1);
        }
    }

    #[test]
    fn null_misaligned_and_foreign_handles_are_refused() {
        let pointer = boxed::<Number>(7, 3);
        // SAFETY: NULL, the live object and addresses inside it.
        unsafe {
            assert_eq!(status(shared::<Number>(std::ptr::null())), LOQUAT_INVALID_HANDLE);
            assert_eq!(status(shared(pointer.cast::<Other>())), LOQUAT_INVALID_HANDLE);
            assert_eq!(status(shared(pointer.byte_add(1))), LOQUAT_INVALID_HANDLE);
            free(pointer.cast::<Other>());
            free::<Number>(std::ptr::null_mut());
            assert_eq!(*shared(pointer).unwrap(), 7);
            free(pointer);
        }
    }

    #[test]
    fn a_held_object_outlives_its_handle_but_its_value_does_not() {
        struct Counted;
        impl Opaque for Counted {
            type Value = Arc<()>;
            type Side = ();
            const TAG: u32 = 3;
            const NAME: &'static str = "counted";
        }
        let value = Arc::new(());
        let pointer = boxed::<Counted>(Arc::clone(&value), ());
        // SAFETY: `pointer` is live until free().
        unsafe {
            let hold = kept(pointer).unwrap();
            let busy = hold.exclusive().unwrap();
            assert_eq!(status(shared(pointer)), LOQUAT_BUSY);
            drop(busy);
            assert!(hold.is_live() && hold.pointer() == pointer);
            free(pointer);
            assert_eq!(Arc::strong_count(&value), 1);
            assert!(!hold.is_live());
            assert_eq!(status(hold.exclusive()), LOQUAT_INVALID_HANDLE);
        }
    }

    #[test]
    fn a_panic_in_exclusive_use_poisons_and_freeing_still_works() {
        let pointer = boxed::<Number>(7, 3);
        // SAFETY: `pointer` is live until free().
        unsafe {
            let result = catch_unwind(AssertUnwindSafe(|| {
                let _held = exclusive(pointer).unwrap();
                std::panic::resume_unwind(Box::new(()));
            }));
            assert!(result.is_err());
            assert_eq!(status(exclusive(pointer)), LOQUAT_POISONED);
            assert_eq!(status(shared(pointer)), LOQUAT_POISONED);
            assert_eq!(*side(pointer).unwrap(), 3);
            free(pointer);
        }
    }
}
