package adapter

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
)

//go:generate protoc -I ../.. --go_out=../.. --go_opt=module=github.com/smmd-project/smmd --go-grpc_out=../.. --go-grpc_opt=module=github.com/smmd-project/smmd plugins/adapter/adapter.proto

// ContractVersion is the version of the contract that this package speaks, as go-plugin negotiates it.
const ContractVersion = 1

// PluginName is the name under which go-plugin dispenses the adapter: the only one of an executable.
const PluginName = "adapter"

// Handshake is what agent and adapter must have in common before they talk. The cookie keeps a person from starting an adapter by
// mistake; it protects nothing.
var Handshake = plugin.HandshakeConfig{
	MagicCookieKey:   "SMMD_ADAPTER_COOKIE",
	MagicCookieValue: "d8f2b7c1-smmd-adapter",
}

// Plugins returns the plugin sets by contract version: for the agent's side, where the dispensed value is a [*Client], a is nil; for
// the adapter's side a is what is served.
func Plugins(a Adapter) map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{ContractVersion: {PluginName: &grpcPlugin{server: NewServer(a)}}}
}

// grpcPlugin hands the two ends of the connection to go-plugin.
type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *Server
}

// GRPCServer registers the service, on the adapter's side.
func (p *grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	adapterpb.RegisterAdapterServer(s, p.server)
	return nil
}

// GRPCClient makes the client, on the agent's side.
func (p *grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}

var _ plugin.GRPCPlugin = (*grpcPlugin)(nil)
