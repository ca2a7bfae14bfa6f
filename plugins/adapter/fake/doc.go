// Package fake is an adapter for an execution environment that exists only in memory, or in one JSON file.
//
// A [World] is the outside: environments with their units, modules, run levels and auto-start flags. It stays when an
// adapter goes, as a framework or a container store does; [New] makes any number of adapters on it, one after the other, as
// when the adapter's process is started again. A World with a directory outlives the process too.
//
// Packages are small JSON files, written by [Write], that say how the unit behaves: a start that fails or hangs, a missing
// requirement, a module without effect. On top of that a World has knobs: fail the n-th call ([World.FailCall]), block a
// method ([World.Block]), die before or after an effect ([World.Hook]), close the watch ([World.DropWatch]), and a
// [Console] for changes behind the adapter's back.
//
// The fake keeps the contract of package adapter and passes its conformance kit, so what works against it has met a working
// adapter and not a recording of one.
package fake
