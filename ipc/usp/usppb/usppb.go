// Package usppb is Go code generated from record.proto and msg.proto: the protocol buffers of USP as package usp needs them.
package usppb

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=module=github.com/smmd-project/smmd ipc/usp/usppb/record.proto ipc/usp/usppb/msg.proto
