# One more VM of the blue tenant, on another host.
$NIC = Get-NetAdapter "Ethernet"
New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress "10.1.1.14" -MACAddress "101010101114" `
    -ProviderAddress "192.168.4.40" -Rule "TranslationMethodEncap" -VMName "blue4"
New-NetVirtualizationProviderRoute -InterfaceIndex $NIC.InterfaceIndex -DestinationPrefix "192.168.4.0/24" -NextHop "192.168.1.1"
Select-NetVirtualizationNextHop -SourceVirtualSubnetID 6001 -DestinationCustomerAddress "10.1.1.14"
