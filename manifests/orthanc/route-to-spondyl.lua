-- Orthanc sends every series that may hold a spine to the modality SPONDYL, once nothing more of it comes in.
-- Spondyl's own results come back as SEG, SR and OT, and are not sent again.
function OnStableSeries(seriesId, tags, metadata)
  local modality = tags['Modality']
  if modality == 'CR' or modality == 'DX' or modality == 'MR' then
    RestApiPost('/modalities/SPONDYL/store', seriesId)
  end
end
