// Package report keeps what has to be told outside until it has been told.
//
// What became of a deployment unit is a [model.Result]. It is taken over in the very transaction that ends the operation ([Keeper.Conclude]), or that
// makes known what somebody else has done ([Keeper.Tell]); so it is told once, whatever ends the agent. For CWMP it becomes part of a report: of the one
// report of its ChangeDUState, or of the one that gathers what nobody asked for by ChangeDUState, as far as the policy lets it through. For USP it
// becomes a notification, as do the restart of an environment and the end of a command. Both stay until they are acknowledged, and both are in every
// snapshot. A protocol that is not in use collects nothing.
//
// A ChangeDUState is a [Request]: its elements begin in the order of the request, those that may be about the same unit one after the other
// ([Keeper.Run]); which units an element is about is decided when it begins. The report is complete when every element has ended, or when the request
// is a day old: what is not finished then is told as failed.
package report
