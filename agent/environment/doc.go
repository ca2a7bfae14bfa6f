// Package environment keeps each execution environment as it is asked to be and tells how it is: enabled or disabled, launched
// again after a loss, brought to its InitialRunLevel after each launch.
//
// The [Manager] hears the adapters (it is the handler of package supervisor), keeps the last thing seen of every unit, and
// writes both to the inventory, through the [Observer] that knows what a unit seen means. Truth is merged, not assumed: absence counts
// only for an environment that is up and has synced.
//
// Each environment has a keeper, a goroutine that launches it when it should run and does not, with a growing pause between failures, and
// that brings it up after a launch.
package environment
