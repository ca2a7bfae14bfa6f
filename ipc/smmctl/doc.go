// Package smmctl is the command line of the agent, for a person at the device and for scripts.
//
// Every command takes --json. What it prints then is stable: fields are only ever added. The objects are those of package
// client, with the names in its JSON tags: ExecEnv, DeploymentUnit, ExecutionUnit, Job, Parameter, Report and Adapter; each of the
// first four begins with object (D-Bus path), path (data-model path) and instance. Sizes are in KiB, times RFC 3339,
// references D-Bus paths, "" for none.
//
//	tree                        {"exec_envs": […], "deployment_units": […], "execution_units": […], "jobs": […]}
//	get                         [Parameter …]
//	set                         {"moving": bool, "parameters": [Parameter …]}
//	install, update, uninstall  {"job": Job, "deployment_units": […], "execution_units": […]}
//	start, stop, restart        {"job": Job, "execution_units": […]}
//	ee list                     [ExecEnv …]
//	ee enable, disable,
//	   run-level, restart,
//	   constrain, reset         {"job": Job or null, "exec_env": ExecEnv}
//	baseline                    {"baseline": "cwmp" or "usp", "token": …}
//	reports                     [Report …]
//	reports ack                 {"report": …}
//	jobs                        [Job …]
//	job                         Job
//	cancel                      {"job": Job}
//	adapters                    [Adapter …]
//	watch                       one object a line: {"event": …, "time": …, "initial": bool, "kind": …, "changed": […], "value": …}
//
// With --no-wait a command that begins a job prints {"job": Job}.
//
// The exit status is 0 when it is done, 1 when it failed, 2 for wrong usage, 3 when the agent cannot be reached. Faults go to
// standard error, as text, with the numbers that CWMP and USP use for them.
package smmctl
