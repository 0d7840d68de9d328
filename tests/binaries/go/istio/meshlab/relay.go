package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	ecdsType     = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	maxMessage   = 1 << 30
	maxLine      = 1 << 28
)

// relay passes delta xDS on, and each listener, cluster and extension through an editor: a process
// that reads a resource a line, as JSON, and answers with what Envoy is to get.
func relay(arguments []string) error {
	flags := flag.NewFlagSet("relay", flag.ExitOnError)
	listen := flags.String("listen", "", "address for the sidecars")
	certificate := flags.String("certificate", "", "file with the relay's own, for an agent insists")
	key := flags.String("key", "", "file with its key")
	upstream := flags.String("istiod", "", "istiod's address for clear text")
	logFile := flags.String("log", "", "file for what passed, a JSON text a line")
	keep := flags.String("keep", "", "folder for what istiod sent, before any edit")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	log, err := os.Create(*logFile)
	if err != nil {
		return err
	}
	edit, err := startEditor(flags.Args())
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(*upstream,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return err
	}
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	secured, err := credentials.NewServerTLSFromFile(*certificate, *key)
	if err != nil {
		return err
	}
	server := grpc.NewServer(
		grpc.Creds(secured), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	discovery.RegisterAggregatedDiscoveryServiceServer(server, &passer{
		istiod: discovery.NewAggregatedDiscoveryServiceClient(connection),
		edit:   edit,
		log:    log,
		keep:   *keep,
	})
	return server.Serve(socket)
}

type passer struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	istiod discovery.AggregatedDiscoveryServiceClient
	edit   *editor
	keep   string

	writing sync.Mutex
	log     *os.File
}

// event is a line of the log.
type event struct {
	Time    float64           `json:"time"`
	Node    string            `json:"node"`
	What    string            `json:"what"`
	Type    string            `json:"type"`
	Bytes   int               `json:"bytes,omitempty"`
	Digests map[string]string `json:"digests,omitempty"`
	Removed []string          `json:"removed,omitempty"`
	Error   string            `json:"error,omitempty"`
}

func (p *passer) DeltaAggregatedResources(
	sidecar discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) error {
	incoming, _ := metadata.FromIncomingContext(sidecar.Context())
	upstream, err := p.istiod.DeltaAggregatedResources(
		metadata.NewOutgoingContext(sidecar.Context(), incoming))
	if err != nil {
		return err
	}
	node, named := "", make(chan struct{})
	go func() {
		for {
			request, err := sidecar.Recv()
			if err != nil {
				_ = upstream.CloseSend()
				return
			}
			if node == "" {
				// sidecar~10.99.0.2~crawler-1.crawlers~crawlers.svc.cluster.local
				node = strings.Split(request.GetNode().GetId()+"~~~", "~")[2]
				close(named)
			}
			p.note(event{Node: node, What: kind(request), Type: short(request.TypeUrl), Error: request.GetErrorDetail().GetMessage()})
			if err := upstream.Send(request); err != nil {
				return
			}
		}
	}()
	for {
		response, err := upstream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		<-named
		if err := p.pass(node, response); err != nil {
			return err
		}
		if err := sidecar.Send(response); err != nil {
			return err
		}
	}
}

func kind(request *discovery.DeltaDiscoveryRequest) string {
	switch {
	case request.ErrorDetail != nil:
		return "nack"
	case request.ResponseNonce != "":
		return "ack"
	default:
		return "ask"
	}
}

func (p *passer) pass(node string, response *discovery.DeltaDiscoveryResponse) error {
	digests := map[string]string{}
	size := proto.Size(response)
	for _, resource := range response.Resources {
		sum := sha256.Sum256(resource.Resource.GetValue())
		digests[resource.Name] = hex.EncodeToString(sum[:8])
		if err := p.save(node, response.TypeUrl, resource); err != nil {
			return err
		}
		edited, err := p.edit.resource(resource.Resource)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", resource.Name, node, err)
		}
		resource.Resource = edited
	}
	p.note(event{
		Node: node, What: "push", Type: short(response.TypeUrl), Bytes: size, Digests: digests, Removed: response.RemovedResources,
	})
	return nil
}

func (p *passer) save(node, typeURL string, resource *discovery.Resource) error {
	if p.keep == "" {
		return nil
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(resource.Resource)
	if err != nil {
		return err
	}
	folder := filepath.Join(p.keep, node, short(typeURL))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	file := filepath.Join(folder, strings.ReplaceAll(resource.Name, "/", "_")+".json")
	// By rename: a test reads while istiod sends.
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (p *passer) note(what event) {
	what.Time = float64(time.Now().UnixMicro()) / 1e6
	text, _ := json.Marshal(what)
	p.writing.Lock()
	defer p.writing.Unlock()
	_, _ = p.log.Write(append(text, '\n'))
}

func short(typeURL string) string {
	return typeURL[strings.LastIndex(typeURL, ".")+1:]
}

type editor struct {
	mutex   sync.Mutex
	in      io.Writer
	answers *bufio.Scanner
}

func startEditor(command []string) (*editor, error) {
	if len(command) == 0 {
		return nil, errors.New("no editor is named after the options")
	}
	process := exec.Command(command[0], command[1:]...)
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	answers := bufio.NewScanner(out)
	answers.Buffer(nil, maxLine)
	return &editor{in: in, answers: answers}, process.Start()
}

// resource returns what Envoy is to get: the same bytes where the editor changes nothing.
func (e *editor) resource(of *anypb.Any) (*anypb.Any, error) {
	var message proto.Message
	switch of.TypeUrl {
	case listenerType:
		message = &listener.Listener{}
	case clusterType:
		message = &cluster.Cluster{}
	case ecdsType:
		message = &core.TypedExtensionConfig{}
	default:
		return of, nil
	}
	if err := of.UnmarshalTo(message); err != nil {
		return nil, err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	answer, err := e.ask(text)
	if err != nil || string(answer) == "same" {
		return of, err
	}
	proto.Reset(message)
	if err := protojson.Unmarshal(answer, message); err != nil {
		return nil, fmt.Errorf("the editor's answer: %w", err)
	}
	// Else equal resources would differ in their bytes, and Envoy would drain for nothing.
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	return &anypb.Any{TypeUrl: of.TypeUrl, Value: value}, err
}

func (e *editor) ask(text []byte) ([]byte, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if _, err := e.in.Write(append(text, '\n')); err != nil {
		return nil, err
	}
	if !e.answers.Scan() {
		return nil, fmt.Errorf("the editor ended: %w", errors.Join(e.answers.Err(), io.EOF))
	}
	return append([]byte(nil), e.answers.Bytes()...), nil
}
