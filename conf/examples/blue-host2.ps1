# What tenant Blue needs on host2, as PowerShell for Hyper-V Network Virtualization.
#
#   pacactl ps1 conf/examples/blue-host2.ps1
#
# Two VMs of virtual subnet 6001: 10.1.1.12 on this host, 10.1.1.11 on host1. What
# host1 runs, blue-host1.ps1, differs from step 3 on.

# 1. The adapter that carries the provider addresses. Whatever name it has on Windows,
#    here it is the uplink; its binding is a matter of the host file.
$NIC = Get-NetAdapter "Ethernet"
Enable-NetAdapterBinding -Name $NIC.Name -ComponentID "ms_netwnv"

# 2. Every host knows where all of the tenant's machines are, and what is on-link.
$Blue = "{11111111-2222-3333-4444-000000000000}"
$Subnet = 6001

New-NetVirtualizationLookupRecord -VirtualSubnetID $Subnet -CustomerAddress "10.1.1.11" `
    -MACAddress "101010101105" -ProviderAddress "192.168.1.10" `
    -Rule "TranslationMethodEncap" -VMName "blue1"
New-NetVirtualizationLookupRecord -VirtualSubnetID $Subnet -CustomerAddress "10.1.1.12" `
    -MACAddress "101010101107" -ProviderAddress "192.168.2.20" `
    -Rule "TranslationMethodEncap" -VMName "blue2"
New-NetVirtualizationCustomerRoute -RoutingDomainID $Blue -VirtualSubnetID $Subnet `
    -DestinationPrefix "10.1.1.0/24" -NextHop "0.0.0.0" -Metric 255

# 3. The provider address of this host,
New-NetVirtualizationProviderAddress -InterfaceIndex $NIC.InterfaceIndex `
    -ProviderAddress "192.168.2.20" -PrefixLength 24

# 4. the way to those of other hosts,
New-NetVirtualizationProviderRoute -InterfaceIndex $NIC.InterfaceIndex `
    -DestinationPrefix "0.0.0.0/0" -NextHop "192.168.2.1"

# 5. and the VSID on the port of this host's VM, which is found by its MAC.
Get-VMNetworkAdapter -VMName "blue2" | where {$_.MacAddress -eq "101010101107"} |
    Set-VMNetworkAdapter -VirtualSubnetID $Subnet
