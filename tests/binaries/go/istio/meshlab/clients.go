package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	typePrefix    = "type.googleapis.com/envoy.config."
	endpointType  = typePrefix + "endpoint.v3.ClusterLoadAssignment"
	routeType     = typePrefix + "route.v3.RouteConfiguration"
	extensionType = typePrefix + "core.v3.TypedExtensionConfig"
	mostWaiting   = 3 * time.Minute
	againAfter    = time.Second
)

// clients subscribes to what a sidecar subscribes to, many times over, and acknowledges it all.
//
// Commands on standard input, each answered by a line of JSON: "mark" sets the counters to zero;
// "report QUIET" tells them once all have had something and nothing came for QUIET (a duration).
func clients(arguments []string) error {
	flags := flag.NewFlagSet("clients", flag.ExitOnError)
	istiod := flags.String("istiod", "", "istiod's address for clear text")
	count := flags.Int("count", 1000, "how many")
	namespace := flags.String("namespace", "crawlers", "of their pods")
	nodeMetadata := flags.String("metadata", "{}", "of every node, as JSON")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	meta := &structpb.Struct{}
	if err := meta.UnmarshalJSON([]byte(*nodeMetadata)); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	all := &fleet{count: *count, names: map[uint64]named{}, seed: maphash.MakeSeed()}
	all.mark()
	for number := range *count {
		node := &core.Node{
			Id: fmt.Sprintf("sidecar~10.98.%d.%d~scale-%d.%s~%s.svc.cluster.local",
				number/250, number%250+1, number, *namespace, *namespace),
			Metadata: meta,
		}
		go all.live(*istiod, number, node)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := all.obey(lines.Text()); err != nil {
			return err
		}
	}
	return nil
}

type fleet struct {
	count  int
	mutex  sync.Mutex
	names  map[uint64]named // by the hash of a resource: the same for all
	seed   maphash.Seed
	start  time.Time
	seen   report
	byNode map[int]bool
	wire   atomic.Int64
	// How often istiod ended a stream.
	refused atomic.Int64
}

type named struct{ endpoints, routes, extensions []string }

type report struct {
	Clients   int            `json:"clients"`
	Refused   int64          `json:"refused"`
	Responses int            `json:"responses"`
	Bytes     int64          `json:"bytes"`
	ByType    map[string]int `json:"bytes_by_type"`
	First     float64        `json:"first_seconds"`
	Last      float64        `json:"last_seconds"`
}

func (f *fleet) obey(command string) error {
	word, rest, _ := strings.Cut(command, " ")
	switch word {
	case "mark":
		f.mark()
		fmt.Println(`{"marked": true}`)
		return nil
	case "report":
		quiet, err := time.ParseDuration(rest)
		if err != nil {
			return err
		}
		text, err := json.Marshal(f.settled(quiet))
		fmt.Println(string(text))
		return err
	}
	return fmt.Errorf("%q is no command", command)
}

func (f *fleet) mark() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.start, f.byNode = time.Now(), map[int]bool{}
	f.seen = report{ByType: map[string]int{}}
	f.wire.Store(0)
}

func (f *fleet) settled(quiet time.Duration) report {
	for {
		f.mutex.Lock()
		last, passed := f.seen.Last, time.Since(f.start)
		done := f.seen
		done.Clients, done.Bytes, done.Refused = len(f.byNode), f.wire.Load(), f.refused.Load()
		f.mutex.Unlock()
		idle := passed - time.Duration(last*1e9)
		if passed > mostWaiting || (done.Clients == f.count && idle > quiet) {
			return done
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// live connects again whenever it is turned away, as agents do: istiod takes in so many a second.
func (f *fleet) live(istiod string, number int, node *core.Node) {
	for {
		err := f.run(istiod, number, node)
		if f.refused.Add(1) == 1 {
			fmt.Fprintf(os.Stderr, "client %d: %v; it and others will connect again\n", number, err)
		}
		time.Sleep(againAfter + rand.N(againAfter))
	}
}

func (f *fleet) run(istiod string, number int, node *core.Node) error {
	connection, err := grpc.NewClient(istiod,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(f),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).
		DeltaAggregatedResources(context.Background(), grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	// As Envoy: clusters first, and listeners once it has those.
	asked := map[string]bool{listenerType: false}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: clusterType}); err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("client %d: %w", number, err)
		}
		ack := &discovery.DeltaDiscoveryRequest{TypeUrl: response.TypeUrl, ResponseNonce: response.Nonce}
		if err := stream.Send(ack); err != nil {
			return err
		}
		f.note(number, response)
		requests := f.follow(response, asked)
		if response.TypeUrl == clusterType && !asked[listenerType] {
			asked[listenerType] = true
			requests = append(requests, &discovery.DeltaDiscoveryRequest{TypeUrl: listenerType})
		}
		for _, request := range requests {
			if err := stream.Send(request); err != nil {
				return err
			}
		}
	}
}

func (f *fleet) note(number int, response *discovery.DeltaDiscoveryResponse) {
	size := 0
	for _, resource := range response.Resources {
		size += len(resource.Resource.GetValue())
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	passed := time.Since(f.start).Seconds()
	if f.seen.First == 0 {
		f.seen.First = passed
	}
	f.seen.Last = passed
	f.seen.Responses++
	f.seen.ByType[short(response.TypeUrl)] += size
	f.byNode[number] = true
}

// follow returns what a sidecar asks for next: what the response mentions and was not asked for.
func (f *fleet) follow(
	response *discovery.DeltaDiscoveryResponse, asked map[string]bool,
) []*discovery.DeltaDiscoveryRequest {
	fresh := map[string][]string{}
	add := func(typeURL string, names []string) {
		for _, name := range names {
			if !asked[typeURL+name] {
				asked[typeURL+name] = true
				fresh[typeURL] = append(fresh[typeURL], name)
			}
		}
	}
	for _, resource := range response.Resources {
		mentioned := f.mentioned(response.TypeUrl, resource.Resource.GetValue())
		add(endpointType, mentioned.endpoints)
		add(routeType, mentioned.routes)
		add(extensionType, mentioned.extensions)
	}
	requests := make([]*discovery.DeltaDiscoveryRequest, 0, len(fresh))
	for typeURL, names := range fresh {
		requests = append(requests, &discovery.DeltaDiscoveryRequest{
			TypeUrl: typeURL, ResourceNamesSubscribe: names,
		})
	}
	return requests
}

func (f *fleet) mentioned(typeURL string, value []byte) named {
	if typeURL != clusterType && typeURL != listenerType {
		return named{}
	}
	key := maphash.Bytes(f.seed, value)
	f.mutex.Lock()
	known, ok := f.names[key]
	f.mutex.Unlock()
	if ok {
		return known
	}
	found := named{}
	if typeURL == clusterType {
		found = ofCluster(value)
	} else {
		found = ofListener(value)
	}
	f.mutex.Lock()
	f.names[key] = found
	f.mutex.Unlock()
	return found
}

func ofCluster(value []byte) (found named) {
	one := &cluster.Cluster{}
	if proto.Unmarshal(value, one) == nil && one.GetType() == cluster.Cluster_EDS {
		name := one.Name
		if service := one.GetEdsClusterConfig().GetServiceName(); service != "" {
			name = service
		}
		found.endpoints = []string{name}
	}
	return found
}

func ofListener(value []byte) (found named) {
	one := &listener.Listener{}
	if proto.Unmarshal(value, one) != nil {
		return found
	}
	chains := one.FilterChains
	if one.DefaultFilterChain != nil {
		chains = append(chains, one.DefaultFilterChain)
	}
	for _, chain := range chains {
		for _, filter := range chain.Filters {
			if filter.GetConfigDiscovery() != nil {
				found.extensions = append(found.extensions, filter.Name)
			}
			manager := &hcm.HttpConnectionManager{}
			if filter.GetTypedConfig().UnmarshalTo(manager) != nil {
				continue
			}
			if name := manager.GetRds().GetRouteConfigName(); name != "" {
				found.routes = append(found.routes, name)
			}
			for _, httpFilter := range manager.HttpFilters {
				if httpFilter.GetConfigDiscovery() != nil {
					found.extensions = append(found.extensions, httpFilter.Name)
				}
			}
		}
	}
	return found
}

// TagRPC and the rest make the fleet a grpc stats.Handler, which knows what came over the wire.
func (f *fleet) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (f *fleet) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (f *fleet) HandleConn(context.Context, stats.ConnStats) {}

func (f *fleet) HandleRPC(_ context.Context, what stats.RPCStats) {
	if payload, ok := what.(*stats.InPayload); ok {
		f.wire.Add(int64(payload.WireLength))
	}
}
