// Package adaptertest is the conformance kit of package adapter: its contract in executable form.
//
// The author of an adapter says in a [Harness] how to make the adapter and gives a few packages; [Run] runs one case for each
// sentence of the contract, each on an environment of its own:
//
//	func TestConformance(t *testing.T) {
//		adaptertest.Run(t, adaptertest.Harness{Open: open, Environments: environments, Packages: packages})
//	}
//
// The harness hands out an [adapter.Adapter], so the same suite serves the implementation in the test's own process, the same
// behind the wire, and an executable. [Check] runs it without package testing.
//
// The kit restarts the adapter often, by the harness's kill. What it cannot provoke from outside, an environment that is lost
// or a start that hangs, the harness provides or gives a reason for skipping: nothing is skipped silently.
package adaptertest
